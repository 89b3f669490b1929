// SPDX-License-Identifier: Apache-2.0
// The sparse adapter, backward. For a pair p = (t, j) that fired, e the expert of j, c the gate factor of (t, e):
//   dscore_p = dy_t . value_j       dvalue_j += score_p dy_t
//   ddot_p = c dscore_p             dkey_j += ddot_p h_t       dh_t += ddot_p key_j
//   dc_te = sum over the token's pairs of e of dot_p dscore_p, dg by the gate (sparse_gate.h)
//   dh_t += sum over e of dg_te W_g[e]       dW_g[e] += dg_te h_t
#include "kernels/sparse_backward.h"

#include "core/part_clock.h"
#include "cpu/product.h"
#include "cpu/sparse_backward_parts.h"
#include "kernels/kernel_table.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kTokensPerTask = 16;

// raw, sigmoid: dg is 0 but for experts that fired, so both sums run over segments.
void sparse_router_gradients(meft_ctx &lane, const BackwardCall &call, const SparseGradients &gradients, const float *h,
                             const float *gate_weight) {
    Workspace::Frame frame(lane.workspace);
    const meft_sparse &params = *call.params;
    const PairSegments &segments = call.segments;
    const int64_t hidden = params.hidden, count = segments.count();
    int32_t *experts = frame.take<int32_t>(count), *tokens = frame.take<int32_t>(count);
    float *by_place = frame.take<float>(count), *by_expert = frame.take<float>(count);
    for (int64_t e = 0; e < params.experts; ++e) {
        for (int64_t i = segments.starts[e]; i < segments.starts[e + 1]; ++i) {
            const PairSegment &s = segments.list[i];
            experts[s.place] = int32_t(e);
            tokens[i] = s.token;
            by_expert[i] = gate_gradient(params.gate, call.gate.at(s.token, e), call.dfactors[s.place]);
            by_place[s.place] = by_expert[i];
        }
    }
    const Terms<F32Rows> router = {{gate_weight, hidden}, experts, by_place};
    parallel_chunks(lane, params.tokens, kTokensPerTask, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            sum_row(gradients.dh + t * hidden, router, segments.token_starts[t], segments.token_starts[t + 1], hidden,
                    false);
        }
    });
    if (gradients.dgate_weight == nullptr) return;
    const Terms<F32Rows> inputs = {{h, hidden}, tokens, by_expert};
    parallel(lane, params.experts, [&](int64_t e, int32_t) {
        sum_row(gradients.dgate_weight + e * hidden, inputs, segments.starts[e], segments.starts[e + 1], hidden, false);
    });
}

// softmax: every logit of a token moves all its factors, so dg is dense.
void dense_router_gradients(meft_ctx &lane, const BackwardCall &call, const SparseGradients &gradients, const float *h,
                            const float *gate_weight) {
    Workspace::Frame frame(lane.workspace);
    const meft_sparse &params = *call.params;
    const int64_t tokens = params.tokens, experts = params.experts, hidden = params.hidden;
    float *dg = frame.take<float>(tokens * experts);
    std::memset(dg, 0, size_t(tokens * experts) * sizeof(float));
    for (int64_t e = 0; e < experts; ++e) {
        for (int64_t i = call.segments.starts[e]; i < call.segments.starts[e + 1]; ++i) {
            const PairSegment &s = call.segments.list[i];
            dg[s.token * experts + e] = call.dfactors[s.place];
        }
    }
    softmax_gradient(lane, dg, call.gate, tokens);
    const Matrix gradient = matrix(dg, experts);
    wide_product<F32>(lane, {gradients.dh, hidden, gradient, false, matrix(gate_weight, hidden), false, tokens, hidden,
                             experts, true});
    if (gradients.dgate_weight == nullptr) return;
    wide_product<F32>(lane, {gradients.dgate_weight, hidden, gradient, true, matrix(h, hidden), false, experts, hidden,
                             tokens, true});
}

// Everything but the rows of keys and values: ddots, dh by the pairs, the router.
void begin_backward(meft_ctx &lane, Workspace::Frame &frame, BackwardCall &call, const SparseGradients &gradients,
                    const float *dy, const float *h, const float *logits, const float *gate_weight,
                    const RowPlanes &keys, const RowPlanes &values) {
    const meft_sparse &params = *call.params;
    const FiredPairs &pairs = *call.pairs;
    call.segments = segment_pairs(frame, pairs.offsets, pairs.neurons, params);
    call.gate = gate_factors(lane, frame, nullptr, logits, params);
    call.ddots = frame.take<float>(pairs.offsets[params.tokens]);
    call.dfactors = frame.take<float>(call.segments.count());
    {
        const PartClock clock(lane, kPartScoreGradients);
        all_score_gradients(lane, call, dy, {values.hi, values.lo, params.hidden});
    }
    {
        const PartClock clock(lane, kPartInputGradients);
        with_rows({keys.hi, keys.lo, params.hidden}, params.compute, [&](auto rows) {
            add_pair_sums(lane, gradients.dh, params.hidden, Terms<decltype(rows)>{rows, pairs.neurons, call.ddots},
                          call.segments, params.experts);
        });
    }
    if (params.gate == MEFT_GATE_NONE) return;
    const PartClock clock(lane, kPartRouterGradients);
    if (params.gate == MEFT_GATE_SOFTMAX) {
        dense_router_gradients(lane, call, gradients, h, gate_weight);
    } else {
        sparse_router_gradients(lane, call, gradients, h, gate_weight);
    }
}

// Values, then keys: a pass reads dy or h of an expert's tokens, which then stay in L2 for the expert's other neurons.
void backward(meft_ctx &lane, const SparseGradients &gradients, const float *dy, const float *h, const float *logits,
              const FiredPairs &pairs, const float *gate_weight, const RowPlanes &keys, const RowPlanes &values,
              const meft_sparse &params) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    BackwardCall call = {};
    call.params = &params;
    call.pairs = &pairs;
    begin_backward(lane, frame, call, gradients, dy, h, logits, gate_weight, keys, values);
    const PartClock clock(lane, kPartRowGradients);
    const PairsByNeuron sorted = sort_by_neuron(lane, frame, call);
    add_row_gradients(lane, gradients.dvalues, gradients, {&sorted, sorted.scores, dy, params.neurons, params.hidden});
    if (gradients.dkeys == nullptr) return;
    add_row_gradients(lane, gradients.dkeys, gradients, {&sorted, sorted.ddots, h, params.neurons, params.hidden});
}

// The norm of the layer's gradients first: it decides the clipping, and whether anything moves; then both matrices step.
// Taking every row's sum twice costs less than writing it and reading it back.
void backward_step(meft_ctx &lane, const SparseGradients &gradients, const SparseStep &step, const float *dy,
                   const float *h, const float *logits, const FiredPairs &pairs, const float *gate_weight,
                   const meft_sparse &params) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    BackwardCall call = {};
    call.params = &params;
    call.pairs = &pairs;
    begin_backward(lane, frame, call, gradients, dy, h, logits, gate_weight, {step.keys.hi, step.keys.lo},
                   {step.values.hi, step.values.lo});
    const PartClock clock(lane, kPartRowSteps);
    const PairsByNeuron sorted = sort_by_neuron(lane, frame, call);
    const RowSums values = {&sorted, sorted.scores, dy, params.neurons, params.hidden};
    const RowSums keys = {&sorted, sorted.ddots, h, params.neurons, params.hidden};
    const bool trained_keys = step.keys.m != nullptr;
    double *squares = step.squares;
    squares[0] = gradients.dgate_weight == nullptr
                     ? 0
                     : lane.kernels->elementwise->sum_squares(lane, gradients.dgate_weight,
                                                              params.experts * params.hidden);
    squares[1] = trained_keys ? square_row_gradients(lane, keys) : 0;
    squares[2] = square_row_gradients(lane, values);
    const double norm = ::sqrt(squares[0] + squares[1] + squares[2]);
    if (!std::isfinite(norm)) return;
    meft_adamw adam = *step.adam;
    if (step.clip > 0 && step.clip < norm + 1e-6) adam.grad_scale = float(double(adam.grad_scale) * (step.clip / (norm + 1e-6)));
    step_row_gradients(lane, values, step.values, step.lr_history, adam);
    if (trained_keys) step_row_gradients(lane, keys, step.keys, step.lr_history, adam);
}

}  // namespace

extern const sparse_backward_kernels sparse_backward_table;
const sparse_backward_kernels sparse_backward_table = {backward, backward_step};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
