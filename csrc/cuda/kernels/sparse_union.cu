// SPDX-License-Identifier: Apache-2.0
// The union of selected neurons, and all tokens scored against it, a block of tokens at a time: one pass counts the
// pairs of each token, the next, with the offsets known, writes them.
#include "cuda/kernels/sparse_union.cuh"

#include <algorithm>
#include <vector>

namespace meft {
namespace cuda {

namespace {

constexpr int kTokensPerBlock = kThreads / 32;
constexpr int64_t kScoreElements = 1 << 24;  // of the scores of one block of tokens, at most: 64 MiB

unsigned warps_for(int64_t tokens) { return unsigned((tokens + kTokensPerBlock - 1) / kTokensPerBlock); }

__global__ void mark_kernel(int32_t *selected, const int32_t *experts, GateFactors gate, Candidates candidates,
                            CandidateSizes sizes) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= sizes.tokens) return;
    each_candidate(sizes, experts, gate, candidates.dots, token, candidates.cuts[token],
                   [&](bool stays, int, int, int32_t neuron, float, float) {
                       if (stays) atomicOr(reinterpret_cast<unsigned *>(selected) + neuron, 1u);
                   });
}

// places: running sums of selected.
__global__ void gather_kernel(int32_t *united, const int32_t *selected, const int32_t *places, int64_t neurons) {
    MEFT_FOR_EACH(j, neurons) {
        if (selected[j]) united[places[j]] = int32_t(j);
    }
}

// The union, on the device; its count is waited for.
NeuronList unite(Operands &on, int32_t *tainted, const SelectInput &input) {
    const meft_sparse &params = *input.params;
    // Own selections count whatever their sign: another token may score higher on them.
    const float floor = -INFINITY;
    const Candidates candidates = select_candidates(on, tainted, input, floor);
    int32_t *selected = on.scratch<int32_t>(params.neurons), *places = on.scratch<int32_t>(params.neurons + 1);
    int64_t *total = on.scratch<int64_t>(1);
    fill_zero(selected, params.neurons * int64_t(sizeof(int32_t)), on.stream);
    MEFT_LAUNCH(mark_kernel, dim3(warps_for(params.tokens)), kThreads, 0, on.stream, selected, input.experts,
                input.gate, candidates, candidate_sizes(params, floor));
    running_sums(on.stream, places, total, selected, params.neurons);
    int32_t *neurons = on.scratch<int32_t>(params.neurons);
    MEFT_LAUNCH(gather_kernel, grid_of(params.neurons), kThreads, 0, on.stream, neurons, selected, places,
                params.neurons);
    int64_t count = 0;
    copy(&count, total, sizeof count, Way::down, on.stream);
    synchronize(on.stream);
    return {neurons, count};
}

// Tokens [first, first + tokens) against the union.
struct UnionBlock {
    const float *dots;  // (tokens, count)
    const int32_t *neurons;
    int64_t first, tokens, count;
    int32_t per_expert;
};

__device__ __forceinline__ float union_score(const UnionBlock &block, GateFactors gate, int64_t token, int64_t i,
                                             float *dot) {
    *dot = block.dots[token * block.count + i];
    return gated(gate.at(block.first + token, block.neurons[i] / block.per_expert), *dot);
}

__global__ void count_pairs_kernel(int32_t *counts, int32_t *tainted, UnionBlock block, GateFactors gate) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= block.tokens) return;
    int mine = 0;
    float zeros = 0, dot = 0;
    for (int64_t i = threadIdx.x & 31; i < block.count; i += 32) {
        const float score = union_score(block, gate, token, i, &dot);
        mine += score > 0;
        zeros += score * 0.f;  // NaN where one is not finite
    }
    const int all = __reduce_add_sync(kWarpMask, mine);
    zeros = warp_sum(zeros);
    if ((threadIdx.x & 31) != 0) return;
    counts[block.first + token] = all;
    if (!(zeros == 0)) tainted[block.first + token] = 1;
}

__global__ void emit_union_kernel(ForwardPairs pairs, const int64_t *needed, int64_t capacity, UnionBlock block,
                                  GateFactors gate) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= block.tokens || needed[0] > capacity) return;
    int32_t at = pairs.offsets[block.first + token];
    for (int64_t begin = 0; begin < block.count; begin += 32) {
        const int64_t i = begin + (threadIdx.x & 31);
        float dot = 0;
        const float score = i < block.count ? union_score(block, gate, token, i, &dot) : 0.f;
        const unsigned fired = __ballot_sync(kWarpMask, score > 0);
        if (score > 0) {
            const int32_t place = at + __popc(fired & ((1u << (threadIdx.x & 31)) - 1));
            pairs.neurons[place] = block.neurons[i];
            pairs.dots[place] = dot;
            pairs.scores[place] = score;
        }
        at += __popc(fired);
    }
}

// Scores of a block of tokens against the whole union, into dots.
void score_block(Operands &on, float *dots, const SelectInput &input, const NeuronList &united, int64_t first,
                 int64_t tokens) {
    std::vector<ScoreTile> tiles;
    for (int64_t i = 0; i < tokens; i += kScoreTile) {
        for (int64_t row = 0; row < united.count; row += kScoreTile) {
            tiles.push_back({int32_t(i), int32_t(std::min<int64_t>(kScoreTile, tokens - i)), int32_t(row),
                             int32_t(std::min<int64_t>(kScoreTile, united.count - row)), int32_t(row)});
        }
    }
    const ScoreCall call = {on.in(tiles.data(), int64_t(tiles.size())),
                            input.h + first * input.keys.hidden,
                            nullptr,
                            1,
                            united.neurons,
                            input.keys,
                            dots,
                            united.count};
    score_tiles(on.stream, call, int64_t(tiles.size()), input.params->compute);
}

}  // namespace

void fire_union(Operands &on, int32_t *tainted, const ForwardPairs &pairs, int64_t *needed, const SelectInput &input) {
    fire_among(on, tainted, pairs, needed, input, unite(on, tainted, input));
}

void fire_among(Operands &on, int32_t *tainted, const ForwardPairs &pairs, int64_t *needed, const SelectInput &input,
                const NeuronList &united) {
    const meft_sparse &params = *input.params;
    const int64_t fitting = std::max<int64_t>(1, kScoreElements / std::max<int64_t>(1, united.count));
    const int64_t block = std::min(params.tokens, fitting);
    float *dots = on.scratch<float>(block * united.count);
    int32_t *counts = on.scratch<int32_t>(params.tokens);
    const auto each_block = [&](auto body) {
        for (int64_t first = 0; first < params.tokens; first += block) {
            const int64_t tokens = std::min(block, params.tokens - first);
            body(UnionBlock{dots, united.neurons, first, tokens, united.count, int32_t(input.per_expert())});
        }
    };
    each_block([&](const UnionBlock &some) {
        score_block(on, dots, input, united, some.first, some.tokens);
        MEFT_LAUNCH(count_pairs_kernel, dim3(warps_for(some.tokens)), kThreads, 0, on.stream, counts, tainted, some,
                    input.gate);
    });
    running_sums(on.stream, pairs.offsets, needed, counts, params.tokens);
    each_block([&](const UnionBlock &some) {
        if (block < params.tokens) score_block(on, dots, input, united, some.first, some.tokens);  // else still there
        MEFT_LAUNCH(emit_union_kernel, dim3(warps_for(some.tokens)), kThreads, 0, on.stream, pairs, needed,
                    params.pair_capacity, some, input.gate);
    });
}

}  // namespace cuda
}  // namespace meft
