// SPDX-License-Identifier: Apache-2.0
// The parts of one target; see parts.h.
#include "bench/parts.h"

#include "core/pool.h"
#include "cpu/sparse_backward_parts.h"
#include "cpu/sparse_select.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

void score(meft_ctx &lane, const PartOperands &x) {
    Workspace::Frame frame(lane.workspace);
    const meft_sparse &params = *x.params;
    uint8_t *tainted = frame.take<uint8_t>(params.tokens);
    const SelectInput input = {
        x.h, x.experts, gate_factors(lane, frame, tainted, x.logits, params), {x.keys.hi, x.keys.lo, params.hidden},
        &params};
    const Candidates candidates = select_candidates(lane, frame, tainted, input, 0.f);
    const int64_t room = candidates.room * params.active_experts;
    float *scores = frame.take<float>(lane.threads * room);
    parallel_chunks(lane, params.tokens, 16, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t t = begin; t < end; ++t) {
            int64_t p = t * params.top_k;
            each_chosen(input, candidates, t, scores + thread * room, [&](int32_t neuron, float dot, float of_gate) {
                x.chosen.neurons[p] = neuron;
                x.chosen.dots[p] = dot;
                x.chosen.scores[p++] = of_gate;
            });
        }
    });
}

void select(const float *scores, int64_t rows, int64_t count, int64_t keep, float *best, int32_t *ids) {
    FilterPlan plan = {int32_t(keep), FilterPlan::room_for(keep, count), 0.f, best + 4096};
    vf tainted = zero();
    for (int64_t row = 0; row < rows; ++row) {
        TopFilter filter = {best, ids, 1.f, 0.f, 0};
        filter.offer(plan, scores + row * count, count, 0, tainted);
        filter.cut(plan);
    }
}

void sum_values(meft_ctx &lane, const PartOperands &x) {
    Workspace::Frame frame(lane.workspace);
    const meft_sparse &params = *x.params;
    const PairSegments segments = segment_pairs(frame, x.pairs.offsets, x.pairs.neurons, params);
    with_rows({x.values.hi, x.values.lo, params.hidden}, params.compute, [&](auto rows) {
        add_pair_sums(lane, x.out, params.hidden, Terms<decltype(rows)>{rows, x.pairs.neurons, x.pairs.scores},
                      segments, params.experts);
    });
}

void sum_by_token(meft_ctx &lane, const PartOperands &x) {
    const int64_t hidden = x.params->hidden;
    const Terms<F32Rows> terms = {{x.wide, hidden}, x.pairs.neurons, x.pairs.scores};
    parallel_chunks(lane, x.params->tokens, 16, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            sum_row(x.out + t * hidden, terms, x.pairs.offsets[t], x.pairs.offsets[t + 1], hidden, false);
        }
    });
}

BackwardCall begin(meft_ctx &lane, Workspace::Frame &frame, const PartOperands &x) {
    BackwardCall call = {};
    call.params = x.params;
    call.pairs = &x.pairs;
    call.segments = segment_pairs(frame, x.pairs.offsets, x.pairs.neurons, *x.params);
    call.gate = gate_factors(lane, frame, nullptr, x.logits, *x.params);
    call.ddots = frame.take<float>(x.pairs.offsets[x.params->tokens]);
    call.dfactors = frame.take<float>(call.segments.count());
    return call;
}

void dots(meft_ctx &lane, const PartOperands &x) {
    Workspace::Frame frame(lane.workspace);
    all_score_gradients(lane, begin(lane, frame, x), x.dy, {x.values.hi, x.values.lo, x.params->hidden});
}

// The gradients of scores do not matter for time: those of forward stand in for them.
void rows(meft_ctx &lane, const PartOperands &x) {
    Workspace::Frame frame(lane.workspace);
    BackwardCall call = begin(lane, frame, x);
    for (int32_t p = 0; p < x.pairs.offsets[x.params->tokens]; ++p) call.ddots[p] = x.pairs.scores[p];
    const PairsByNeuron sorted = sort_by_neuron(lane, frame, call);
    const SparseGradients gradients = {nullptr, nullptr, x.dkeys, x.dvalues, x.slots, 0};
    const int64_t neurons = x.params->neurons, hidden = x.params->hidden;
    add_row_gradients(lane, x.dvalues, gradients, {&sorted, sorted.scores, x.dy, neurons, hidden});
    add_row_gradients(lane, x.dkeys, gradients, {&sorted, sorted.ddots, x.h, neurons, hidden});
}

void fused(meft_ctx &lane, const PartOperands &x) {
    Workspace::Frame frame(lane.workspace);
    BackwardCall call = begin(lane, frame, x);
    for (int32_t p = 0; p < x.pairs.offsets[x.params->tokens]; ++p) call.ddots[p] = x.pairs.scores[p];
    const PairsByNeuron sorted = sort_by_neuron(lane, frame, call);
    const int64_t neurons = x.params->neurons, hidden = x.params->hidden;
    step_row_gradients(lane, {&sorted, sorted.scores, x.dy, neurons, hidden}, x.values_state, x.lr_history, *x.adam);
    step_row_gradients(lane, {&sorted, sorted.ddots, x.h, neurons, hidden}, x.keys_state, x.lr_history, *x.adam);
}

}  // namespace

extern const PartTable part_table;
const PartTable part_table = {kTarget, score, select, sum_values, sum_by_token, dots, rows, fused};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
