// SPDX-License-Identifier: Apache-2.0
// Which neurons a token selects: the top K of score = gate * (h . key) among the neurons of its experts, ties to the
// lowest neuron.
#pragma once

#include "cuda/kernels/sparse_cut.cuh"
#include "cuda/kernels/sparse_gate.cuh"
#include "cuda/kernels/sparse_score.cuh"

namespace meft {
namespace cuda {

// What a call's arrays are on the device, and its experts on the host.
struct SelectInput {
    const float *h;
    const int32_t *experts, *host_experts;  // (T,k_e)
    GateFactors gate;
    DevicePlanes keys;
    const meft_sparse *params;
    int64_t per_expert() const { return params->neurons / params->experts; }
};

// Dots of every candidate: entry t*k_e + slot has per_expert of them. counts (T) of a token's selected, cuts (T).
struct Candidates {
    const float *dots;
    int32_t *counts;
    TopCut *cuts;
};

// Only scores above `floor` count. tainted[t] becomes 1 where a score is not finite.
Candidates select_candidates(Operands &on, int32_t *tainted, const SelectInput &input, float floor);

// Sizes for kernels that walk over candidates.
struct CandidateSizes {
    int64_t tokens;
    int32_t active, per_expert, top_k;
    float floor;
};
inline CandidateSizes candidate_sizes(const meft_sparse &params, float floor) {
    const int64_t most = params.top_k < INT32_MAX ? params.top_k : INT32_MAX;
    return {params.tokens, int32_t(params.active_experts), int32_t(params.neurons / params.experts), int32_t(most),
            floor};
}

// Calls body(stays, place, kept, neuron, dot, score) for a token's candidates, 32 at a time, neurons increasing; a
// warp.
template <class Body>
__device__ __forceinline__ void each_candidate(const CandidateSizes &sizes, const int32_t *experts, GateFactors gate,
                                               const float *dots, int64_t token, TopCut cut, const Body &body) {
    for (int32_t slot = 0; slot < sizes.active; ++slot) {
        const int64_t entry = token * sizes.active + slot;
        const int32_t expert = experts[entry];
        const float factor = gate.at(token, expert);
        for (int32_t begin = 0; begin < sizes.per_expert; begin += 32) {
            const int32_t j = begin + int32_t(threadIdx.x & 31);
            const float dot = j < sizes.per_expert ? dots[entry * sizes.per_expert + j] : 0.f;
            const float score = gated(factor, dot);
            const bool counts = j < sizes.per_expert && score > sizes.floor;
            int place = 0, kept = 0;
            const bool stays = warp_keeps(cut, counts ? ordered_key(score) : 0u, &place, &kept);
            body(stays, place, kept, expert * sizes.per_expert + j, dot, score);
        }
    }
}

}  // namespace cuda
}  // namespace meft
