// SPDX-License-Identifier: Apache-2.0
// The k largest of some scores, ties to the earliest, by a warp: no sort. The k-th largest is found bit by bit, by
// counting how many scores lie at or above a trial.
#pragma once

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

constexpr unsigned kWarpMask = 0xffffffffu;

// Unsigned integers that are ordered as the floats are, never 0 for a number. Both zeros must have been made +0.
__device__ __forceinline__ unsigned ordered_key(float x) {
    const unsigned bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
// gate * dot with both zeros made +0, so that they tie.
__device__ __forceinline__ float gated(float gate, float dot) { return __fadd_rn(__fmul_rn(gate, dot), 0.f); }

// Which scores stay: those above `bound`, and of those equal to it the first `ties`.
struct TopCut {
    unsigned bound;
    int ties;
};

// each(body) calls body(key) for this lane's share of the scores; key 0 stands for one that does not count. The cut
// that keeps min(keep, those that count). *count: how many it keeps.
template <class Each>
__device__ __forceinline__ TopCut warp_cut(int keep, int *count, const Each &each) {
    const auto count_from = [&](unsigned least) {
        int mine = 0;
        each([&](unsigned key) { mine += key >= least; });
        return __reduce_add_sync(kWarpMask, mine);
    };
    const int all = count_from(1);
    *count = min(all, keep);
    if (all <= keep) return {0, 0};
    unsigned bound = 0;  // the largest with at least `keep` scores from it on
    for (int bit = 31; bit >= 0; --bit) {
        const unsigned trial = bound | 1u << bit;
        if (count_from(trial) >= keep) bound = trial;
    }
    return {bound, keep - (bound == kWarpMask ? 0 : count_from(bound + 1))};
}

// Whether this lane's score stays. All lanes call it together, a step at a time, scores in order over steps and lanes.
// place: how many stay on lower lanes of this step; *kept: how many stay in it.
__device__ __forceinline__ bool warp_keeps(TopCut &cut, unsigned key, int *place, int *kept) {
    const unsigned below = (1u << (threadIdx.x & 31)) - 1;
    const bool equal = key != 0 && key == cut.bound;
    const unsigned equals = __ballot_sync(kWarpMask, equal);
    const bool stays = key > cut.bound || (equal && __popc(equals & below) < cut.ties);
    const unsigned all = __ballot_sync(kWarpMask, stays);
    cut.ties -= min(cut.ties, __popc(equals));
    *place = __popc(all & below);
    *kept = __popc(all);
    return stays;
}

// offsets (count+1) = 0 and the running sums of counts, cut at the largest int32; total[0] = the whole sum. One block.
__global__ void __launch_bounds__(1024)
    running_sums_kernel(int32_t *offsets, int64_t *total, const int32_t *counts, int64_t count);

void running_sums(cudaStream_t stream, int32_t *offsets, int64_t *total, const int32_t *counts, int64_t count);

}  // namespace cuda
}  // namespace meft
