// SPDX-License-Identifier: Apache-2.0
// Grouping of pairs by expert: two passes over the tokens, each finding where an expert's neurons end.
#include "cpu/sparse_pairs.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

// The first pair of [first, last) whose neuron is at least `bound`; neurons increase.
int32_t lower_bound(const int32_t *neurons, int32_t first, int32_t last, int64_t bound) {
    while (first < last) {
        const int32_t middle = first + (last - first) / 2;
        if (neurons[middle] < bound)
            first = middle + 1;
        else
            last = middle;
    }
    return first;
}

// Calls body(token, expert, first, last) for every run of pairs of one token and one expert, in token order.
template <class Body>
void each_run(const int32_t *offsets, const int32_t *neurons, int64_t tokens, int64_t per_expert, Body &&body) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int32_t first = offsets[t], last; first < offsets[t + 1]; first = last) {
            const int64_t expert = neurons[first] / per_expert;
            last = lower_bound(neurons, first, offsets[t + 1], (expert + 1) * per_expert);
            body(t, expert, first, last);
        }
    }
}

}  // namespace

PairSegments segment_pairs(Workspace::Frame &frame, const int32_t *offsets, const int32_t *neurons,
                           const meft_sparse &params) {
    const int64_t tokens = params.tokens, experts = params.experts, per_expert = params.neurons / experts;
    PairSegments segments = {};
    segments.tokens = tokens;
    segments.starts = frame.take<int64_t>(experts + 1);
    segments.pair_starts = frame.take<int64_t>(experts + 1);
    segments.token_starts = frame.take<int32_t>(tokens + 1);
    int64_t *next = frame.take<int64_t>(experts);
    for (int64_t e = 0; e <= experts; ++e) segments.starts[e] = segments.pair_starts[e] = 0;
    for (int64_t t = 0; t <= tokens; ++t) segments.token_starts[t] = 0;
    each_run(offsets, neurons, tokens, per_expert, [&](int64_t t, int64_t e, int32_t first, int32_t last) {
        ++segments.starts[e + 1];
        ++segments.token_starts[t + 1];
        segments.pair_starts[e + 1] += last - first;
    });
    for (int64_t e = 0; e < experts; ++e) {
        segments.starts[e + 1] += segments.starts[e];
        segments.pair_starts[e + 1] += segments.pair_starts[e];
        next[e] = segments.starts[e];
    }
    for (int64_t t = 0; t < tokens; ++t) segments.token_starts[t + 1] += segments.token_starts[t];
    segments.list = frame.take<PairSegment>(segments.count());
    int32_t place = 0;
    each_run(offsets, neurons, tokens, per_expert, [&](int64_t t, int64_t e, int32_t first, int32_t last) {
        segments.list[next[e]++] = {int32_t(t), first, last, place++};
    });
    return segments;
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
