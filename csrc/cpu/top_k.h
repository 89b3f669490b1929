// SPDX-License-Identifier: Apache-2.0
// The k largest of a stream of scores, ties to the earliest: no sort, no copy of the whole stream.
//
// Scores pass a filter, a vector at a time, against a threshold that rises. Survivors are kept in a buffer of somewhat
// more than k; when it is full, bisection on the scores' bits finds the k-th largest, and the buffer is cut to k.
#pragma once

#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

// gate * dot with both zeros made +0, so that they tie.
inline float gated(float gate, float dot) { return gate * dot + 0.f; }
inline vf gated(vf gate, vf dot) { return add(mul(gate, dot), zero()); }

inline uint32_t lane_mask(All) { return uint32_t((uint64_t(1) << kLanes) - 1); }
inline uint32_t lane_mask(First lanes) { return (1u << lanes.n) - 1; }

// Which scores of a list stay: those above `bound`, and of those equal to it the first `ties`.
struct TopCut {
    float bound;
    int64_t ties;

    // The lanes of x that stay, among those marked in `lanes`; vectors must come in order.
    uint32_t keep(vf x, uint32_t lanes) {
        const uint32_t above = lanes_greater(x, set1(bound)) & lanes;
        if (ties == 0) return above;
        uint32_t equal = lanes & ~above & ~lanes_greater(set1(bound), x);
        while (__builtin_popcount(equal) > ties) equal &= ~(1u << (31 - __builtin_clz(equal)));
        ties -= __builtin_popcount(equal);
        return above | equal;
    }
};

// Signed integers that are ordered as the floats are, -0 below +0. Undoes itself.
inline int32_t ordered_bits(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }
inline int32_t ordered_key(float x) { return ordered_bits(int32_t(float_bits(x))); }
inline float key_float(int64_t key) { return bits_float(uint32_t(ordered_bits(int32_t(key)))); }

inline int64_t count_above(const float *scores, int64_t count, float bound) {
    int64_t above = 0;
    each_vector(0, count, [&](int64_t i, auto lanes) {
        above += __builtin_popcount(lanes_greater(load(scores + i, lanes), set1(bound)) & lane_mask(lanes));
    });
    return above;
}

// The cut that keeps exactly `keep` of count scores, 0 < keep <= count. No score is NaN or -0.
inline TopCut top_cut(const float *scores, int64_t count, int64_t keep) {
    vf most_lanes = set1(scores[0]), least_lanes = set1(scores[0]);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        most_lanes = max(most_lanes, load(scores + i));
        least_lanes = min(least_lanes, load(scores + i));
    }
    float most = max_of(most_lanes), least = -max_of(sub(zero(), least_lanes));
    for (; i < count; ++i) {
        most = scores[i] > most ? scores[i] : most;
        least = scores[i] < least ? scores[i] : least;
    }
    // Fewer than `keep` scores lie above high, at least `keep` above low: the keep-th largest is in (low, high].
    int64_t low = int64_t(ordered_key(least + 0.f)) - 1, high = ordered_key(most);
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t above = count_above(scores, count, key_float(middle));
        if (above == keep) return {key_float(middle), 0};
        (above > keep ? low : high) = middle;
    }
    const float bound = key_float(high);
    return {bound, keep - count_above(scores, count, bound)};
}

// What all filters of a call share.
struct FilterPlan {
    int32_t keep;   // k
    int32_t room;   // elements of a filter's buffers
    float floor;    // only scores above it count
    float *scores;  // room, scratch of one thread

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
        float *scores = plan.scores, *id_lanes = reinterpret_cast<float *>(ids);
        const int64_t all = count;
        each_vector(0, all,
                    [&](int64_t i, auto lanes) { store(scores + i, gated(set1(gate), load(dots + i, lanes)), lanes); });
        TopCut top = top_cut(scores, all, plan.keep);
        threshold = top.bound;
        int64_t kept = 0;
        each_vector(0, all, [&](int64_t i, auto lanes) {
            const uint32_t mask = top.keep(load(scores + i, lanes), lane_mask(lanes));
            const vf dot = load(dots + i, lanes), id = load(id_lanes + i, lanes);
            store_marked(dots + kept, dot, mask);
            store_marked(id_lanes + kept, id, mask);
            kept += __builtin_popcount(mask);
        });
        count = int32_t(kept);
    }

    // Offers n neurons from id `first` on. Lanes of `tainted` become NaN when a score is not finite.
    void offer(const FilterPlan &plan, const float *scores, int64_t n, int32_t first, vf &tainted) {
        each_vector(0, n, [&](int64_t i, auto lanes) {
            const vf x = load(scores + i, lanes), z = gated(set1(gate), x);
            tainted = fma(z, zero(), tainted);
            const uint32_t mask = lanes_greater(z, set1(threshold)) & lane_mask(lanes);
            if (mask == 0) return;
            store_marked(dots + count, x, mask);
            store_marked(reinterpret_cast<float *>(ids + count), lanes_from(first + int32_t(i)), mask);
            count += __builtin_popcount(mask);
            if (count + kLanes > plan.room) cut(plan);
        });
    }
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
