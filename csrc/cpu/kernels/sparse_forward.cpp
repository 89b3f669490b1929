// SPDX-License-Identifier: Apache-2.0
// The sparse adapter, forward: which pairs fire, and y = sum of score * value row.
//
// A number that is not finite must not get lost in a comparison: a token with a router logit or a candidate's score
// that is NaN or infinite gets NaN for its whole row of y, and so the loss of its batch becomes NaN.
#include "kernels/sparse_forward.h"

#include "core/part_clock.h"
#include "cpu/sparse_pairs.h"
#include "cpu/sparse_select.h"
#include "cpu/sparse_union.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kTokensPerTask = 16;

// scope token: a pair is a neuron in the token's own top K with a score above 0.
int64_t fire_own(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const ForwardPairs &pairs,
                 const SelectInput &input) {
    const int64_t tokens = input.params->tokens;
    const Candidates candidates = select_candidates(lane, frame, tainted, input, 0.f);
    int64_t needed = 0;
    for (int64_t t = 0; t < tokens; ++t) needed += chosen_count(input, candidates, t);
    if (needed > input.params->pair_capacity) return needed;
    pairs.offsets[0] = 0;
    for (int64_t t = 0; t < tokens; ++t) {
        pairs.offsets[t + 1] = pairs.offsets[t] + int32_t(chosen_count(input, candidates, t));
    }
    const int64_t room = candidates.room * input.params->active_experts;
    float *scores = frame.take<float>(lane.threads * room);
    parallel_chunks(lane, tokens, kTokensPerTask, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t t = begin; t < end; ++t) {
            int64_t p = pairs.offsets[t];
            each_chosen(input, candidates, t, scores + thread * room, [&](int32_t neuron, float dot, float score) {
                pairs.neurons[p] = neuron;
                pairs.dots[p] = dot;
                pairs.scores[p++] = score;
            });
        }
    });
    return needed;
}

// What a sum reads of pairs.
struct PairSums {
    const int32_t *offsets;
    const int32_t *neurons;
    const float *scores;
};

// y = sum over a token's pairs of score * value.
// tainted (T): tokens whose whole row is NaN; null for none.
void sum_values(meft_ctx &lane, float *y, const uint8_t *tainted, const PairSums &pairs, const RowPlanes &values,
                const meft_sparse &params) {
    const PartClock clock(lane, kPartValues);
    Workspace::Frame frame(lane.workspace);
    const int64_t hidden = params.hidden;
    parallel_chunks(lane, params.tokens, kTokensPerTask, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            const float start = tainted != nullptr && tainted[t] ? bits_float(kQuietNan) : 0.f;
            for (int64_t i = 0; i < hidden; ++i) y[t * hidden + i] = start;
        }
    });
    const PairSegments segments = segment_pairs(frame, pairs.offsets, pairs.neurons, params);
    with_rows({values.hi, values.lo, hidden}, params.compute, [&](auto rows) {
        add_pair_sums(lane, y, hidden, Terms<decltype(rows)>{rows, pairs.neurons, pairs.scores}, segments,
                      params.experts);
    });
}

// Fires by fire(frame, tainted, input), then sums, or without y taints scores.
template <class Fire>
int64_t fire_and_sum(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
                     const int32_t *experts, const RowPlanes &keys, const RowPlanes &values,
                     const meft_sparse &params, Fire &&fire) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    uint8_t *tainted = frame.take<uint8_t>(params.tokens);
    int64_t needed = 0;
    {
        const PartClock clock(lane, kPartScores);
        Workspace::Frame inner(lane.workspace);
        needed = fire(inner, tainted,
                      SelectInput{h, experts, gate_factors(lane, inner, tainted, logits, params),
                                  {keys.hi, keys.lo, params.hidden}, &params});
    }
    if (needed > params.pair_capacity) return needed;
    take_lap(lane);
    if (y != nullptr) {
        sum_values(lane, y, tainted, {pairs.offsets, pairs.neurons, pairs.scores}, values, params);
        return needed;
    }
    for (int64_t t = 0; t < params.tokens; ++t) {
        if (!tainted[t]) continue;
        for (int64_t p = pairs.offsets[t]; p < pairs.offsets[t + 1]; ++p) pairs.scores[p] = bits_float(kQuietNan);
    }
    return needed;
}

int64_t forward(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
                const int32_t *experts, const RowPlanes &keys, const RowPlanes &values, const meft_sparse &params) {
    return fire_and_sum(lane, y, pairs, h, logits, experts, keys, values, params,
                        [&](Workspace::Frame &frame, uint8_t *tainted, const SelectInput &input) {
                            return params.scope == MEFT_SCOPE_UNION ? fire_union(lane, frame, tainted, pairs, input)
                                                                    : fire_own(lane, frame, tainted, pairs, input);
                        });
}

int64_t among(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
              const NeuronList &united, const RowPlanes &keys, const RowPlanes &values, const meft_sparse &params) {
    return fire_and_sum(lane, y, pairs, h, logits, nullptr, keys, values, params,
                        [&](Workspace::Frame &frame, uint8_t *tainted, const SelectInput &input) {
                            return fire_among(lane, frame, tainted, pairs, input, united);
                        });
}

void values(meft_ctx &lane, float *y, const int32_t *offsets, const int32_t *neurons, const float *scores,
            const RowPlanes &values, const meft_sparse &params) {
    lane.ran_target = kTarget;
    sum_values(lane, y, nullptr, {offsets, neurons, scores}, values, params);
}

}  // namespace

extern const sparse_forward_kernels sparse_forward_table;
const sparse_forward_kernels sparse_forward_table = {forward, among, values};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
