// SPDX-License-Identifier: Apache-2.0
// Which neurons a token selects: the top K of score = gate * (h . key) among the neurons of its experts, ties to the
// lowest neuron. First the top K within each (token, expert), tokens of an expert together; then the top K of those.
#pragma once

#include "core/context.h"
#include "cpu/adapter_rows.h"
#include "cpu/sparse_gate.h"
#include "cpu/top_k.h"

namespace meft {
namespace MEFT_TARGET_NS {

// What the h of a call, its routing and its keys are.
struct SelectInput {
    const float *h;
    const int32_t *experts;  // (T,k_e)
    GateFactors gate;
    AdapterRows keys;
    const meft_sparse *params;

    int64_t per_expert() const { return params->neurons / params->experts; }
    // Neurons one token can select.
    int64_t selectable() const {
        const int64_t candidates = per_expert() * params->active_experts;
        return params->top_k < candidates ? params->top_k : candidates;
    }
};

// The best of every (token, expert) pair: entry i = t*k_e + slot has counts[i] <= room of them, neurons increasing.
struct Candidates {
    float *dots;
    int32_t *neurons;
    int32_t *counts;
    int64_t room;
};

// Only scores above `floor` count. tainted[t] becomes 1 where a score is not finite.
Candidates select_candidates(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const SelectInput &input,
                             float floor);

// How many of a token's candidates are in its top K.
inline int64_t chosen_count(const SelectInput &input, const Candidates &candidates, int64_t token) {
    int64_t count = 0;
    const int64_t active = input.params->active_experts;
    for (int64_t slot = 0; slot < active; ++slot) count += candidates.counts[token * active + slot];
    return count < input.params->top_k ? count : input.params->top_k;
}

// Calls body(neuron, dot, score) for a token's top K, neurons increasing. scores: k_e * room, scratch.
template <class Body>
void each_chosen(const SelectInput &input, const Candidates &candidates, int64_t token, float *scores, Body &&body) {
    const int64_t active = input.params->active_experts, top_k = input.params->top_k;
    const int64_t first = token * active;
    int64_t total = 0;
    for (int64_t i = first; i < first + active; ++i) {
        const vf factor = set1(input.gate.at(token, input.experts[i]));
        const float *dots = candidates.dots + i * candidates.room;
        each_vector(0, candidates.counts[i], [&](int64_t c, auto lanes) {
            store(scores + total + c, gated(factor, load(dots + c, lanes)), lanes);
        });
        total += candidates.counts[i];
    }
    TopCut cut = {-HUGE_VALF, 0};
    if (total > top_k) cut = top_cut(scores, total, top_k);
    for (int64_t i = first; i < first + active; scores += candidates.counts[i++]) {
        const float *dots = candidates.dots + i * candidates.room;
        const int32_t *neurons = candidates.neurons + i * candidates.room;
        each_vector(0, candidates.counts[i], [&](int64_t c, auto lanes) {
            uint32_t mask = cut.keep(load(scores + c, lanes), lane_mask(lanes));
            for (; mask != 0; mask &= mask - 1) {
                const int64_t at = c + __builtin_ctz(mask);
                body(neurons[at], dots[at], scores[at]);
            }
        });
    }
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
