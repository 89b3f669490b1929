// SPDX-License-Identifier: Apache-2.0
// The k largest of a stream of scores, ties to the earliest: no sort, no copy of the whole stream.
//
// Scores pass a filter, a vector at a time, against a threshold that rises. Survivors are kept in a buffer of somewhat
// more than k; when it is full, bisection on the scores' bits finds the k-th largest, and the buffer is cut to k.
#pragma once

#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

// Signed integers that are ordered as the floats are, -0 below +0. Undoes itself.
inline int32_t ordered_bits(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }
inline int32_t ordered_key(float x) { return ordered_bits(int32_t(float_bits(x))); }

// gate * dot with both zeros made +0, so that they tie.
inline float gated(float gate, float dot) { return gate * dot + 0.f; }
inline vf gated(vf gate, vf dot) { return add(mul(gate, dot), zero()); }

// Which keys of a list stay: those above `key`, and of those equal to it the first `ties`.
struct TopCut {
    int32_t key;
    int64_t ties;
    bool keeps(int32_t candidate) { return candidate > key || (candidate == key && ties-- > 0); }
};

inline int32_t count_above(const int32_t *keys, int32_t count, int32_t bound) {
    int32_t above = 0;
    for (int32_t i = 0; i < count; ++i) above += keys[i] > bound;
    return above;
}

// The cut that keeps exactly `keep` of count keys, 0 < keep <= count.
inline TopCut top_cut(const int32_t *keys, int32_t count, int32_t keep) {
    int32_t least = keys[0], most = keys[0];
    for (int32_t i = 1; i < count; ++i) {
        least = keys[i] < least ? keys[i] : least;
        most = keys[i] > most ? keys[i] : most;
    }
    // At most keep - 1 keys lie above high, at least keep above low; so the keep-th largest is in (low, high].
    int64_t low = int64_t(least) - 1, high = most;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        const int32_t above = count_above(keys, count, int32_t(middle));
        if (above == keep) return {int32_t(middle), 0};
        (above > keep ? low : high) = middle;
    }
    return {int32_t(high), keep - count_above(keys, count, int32_t(high))};
}

// Bit i is set where lane i of a is greater than that of b.
#if defined(__AVX512F__)
inline uint32_t lanes_greater(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
#elif defined(__AVX2__)
inline uint32_t lanes_greater(vf a, vf b) { return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))); }
#else
inline uint32_t lanes_greater(vf a, vf b) {
    return uint32_t(a[0] > b[0]) | uint32_t(a[1] > b[1]) << 1 | uint32_t(a[2] > b[2]) << 2 | uint32_t(a[3] > b[3]) << 3;
}
#endif

// Appends the lanes of x whose bit is set, with their ids first + lane. Room for kLanes elements is needed.
inline int32_t append_lanes(float *values, int32_t *ids, vf x, uint32_t mask, int32_t first) {
#if defined(__AVX512F__)
    // Compressing in a register: vpcompress to memory is microcoded on Zen 4.
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i id = _mm512_add_epi32(_mm512_set1_epi32(first), lane);
    _mm512_storeu_ps(values, _mm512_maskz_compress_ps(__mmask16(mask), x));
    _mm512_storeu_si512(ids, _mm512_maskz_compress_epi32(__mmask16(mask), id));
    return __builtin_popcount(mask);
#else
    float lanes[kLanes];
    store(lanes, x);
    int32_t count = 0;
    for (; mask != 0; mask &= mask - 1, ++count) {
        const int lane = __builtin_ctz(mask);
        values[count] = lanes[lane];
        ids[count] = first + lane;
    }
    return count;
#endif
}

// What all filters of a call share.
struct FilterPlan {
    int32_t keep;   // k
    int32_t room;   // elements of a filter's buffers
    float floor;    // only scores above it count
    int32_t *keys;  // room, scratch of one thread

    static int32_t room_for(int64_t keep, int64_t candidates) {
        const int64_t enough = keep + 64 > 2 * keep ? keep + 64 : 2 * keep;
        return int32_t((candidates < enough ? candidates : enough) + kLanes);
    }
};

// The best so far of one token among neurons whose gate factor is `gate`: their dots, scores are gate * dot.
struct TopFilter {
    float *dots;   // room
    int32_t *ids;  // room, increasing
    float gate;
    float threshold;
    int32_t count;

    // Cuts the buffer to k and raises the threshold. What ties with it later has a higher id and loses.
    void cut(const FilterPlan &plan) {
        if (count <= plan.keep) return;
        for (int32_t i = 0; i < count; ++i) plan.keys[i] = ordered_key(gated(gate, dots[i]));
        TopCut top = top_cut(plan.keys, count, plan.keep);
        threshold = bits_float(uint32_t(ordered_bits(top.key)));
        int32_t kept = 0;
        for (int32_t i = 0; i < count; ++i) {
            dots[kept] = dots[i];
            ids[kept] = ids[i];
            kept += top.keeps(plan.keys[i]);
        }
        count = kept;
    }

    // Offers n neurons from id `first` on. Lanes of `tainted` become NaN when a score is not finite.
    void offer(const FilterPlan &plan, const float *scores, int64_t n, int32_t first, vf &tainted) {
        each_vector(0, n, [&](int64_t i, auto lanes) {
            const vf x = load(scores + i, lanes), z = gated(set1(gate), x);
            tainted = fma(z, zero(), tainted);
            const uint32_t mask = lanes_greater(z, set1(threshold)) & lane_mask(lanes);
            if (mask == 0) return;
            count += append_lanes(dots + count, ids + count, x, mask, first + int32_t(i));
            if (count + kLanes > plan.room) cut(plan);
        });
    }

private:
    static uint32_t lane_mask(All) { return ~0u; }
    static uint32_t lane_mask(First lanes) { return (1u << lanes.n) - 1; }
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
