// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "api/adamw_checks.h"
#include "api/sparse_checks.h"
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_range(const char *name, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) {
        fail(MEFT_INVALID, "%s is %" PRId64 ", expected %" PRId64 " to %" PRId64, name, value, least, most);
    }
}

void check_experts(const int32_t *experts, const meft_sparse &p) {
    check_array("experts", experts, p.tokens * p.active_experts);
    for (int64_t i = 0; i < p.tokens * p.active_experts; ++i) {
        const int64_t least = i % p.active_experts == 0 ? 0 : int64_t(experts[i - 1]) + 1;
        if (experts[i] >= least && experts[i] < p.experts) continue;
        fail(MEFT_INVALID, "experts[%" PRId64 "] is %d, expected increasing experts below %" PRId64, i, experts[i],
             p.experts);
    }
}

// Every plane that `compute` reads.
void check_planes(const char *hi_name, const char *lo_name, const void *hi, const void *lo, const meft_sparse &p) {
    check_array(hi_name, hi, p.neurons * p.hidden);
    if (p.compute == MEFT_F32) check_array(lo_name, lo, p.neurons * p.hidden);
}

// Which neurons the pairs of each token are of. slots: null where they need none.
void check_neurons(const int32_t *offsets, const int32_t *neurons, const int32_t *slots, const meft_sparse &p) {
    check_array("offsets", offsets, p.tokens + 1);
    if (offsets[0] != 0) fail(MEFT_INVALID, "offsets[0] is %d, expected 0", offsets[0]);
    for (int64_t t = 0; t < p.tokens; ++t) {
        if (offsets[t + 1] >= offsets[t]) continue;
        fail(MEFT_INVALID, "offsets[%" PRId64 "] is %d after %d, expected increasing offsets", t + 1, offsets[t + 1],
             offsets[t]);
    }
    const int64_t count = offsets[p.tokens];
    check_range("pairs", count, 0, p.pair_capacity);
    check_array("neurons", neurons, count);
    for (int64_t t = 0; t < p.tokens; ++t) {
        for (int64_t i = offsets[t]; i < offsets[t + 1]; ++i) {
            const int64_t least = i == offsets[t] ? 0 : int64_t(neurons[i - 1]) + 1;
            if (neurons[i] < least || neurons[i] >= p.neurons) {
                fail(MEFT_INVALID, "neurons[%" PRId64 "] is %d, expected a token's neurons to increase below %" PRId64,
                     i, neurons[i], p.neurons);
            }
            if (slots != nullptr && slots[neurons[i]] < 0) {
                fail(MEFT_INVALID, "neuron %d has no slot: call meft_sparse_touch first", neurons[i]);
            }
        }
    }
}

void check_pairs(const FiredPairs &pairs, const int32_t *slots, const meft_sparse &p) {
    check_neurons(pairs.offsets, pairs.neurons, slots, p);
    check_array("dots", pairs.dots, pairs.offsets[p.tokens]);
    check_array("scores", pairs.scores, pairs.offsets[p.tokens]);
}

// Room for the pairs that a forward finds.
void check_room(const ForwardPairs &pairs, const int64_t *needed_pairs, const meft_sparse &p) {
    check_array("offsets", pairs.offsets, p.tokens + 1);
    check_array("neurons", pairs.neurons, p.pair_capacity);
    check_array("dots", pairs.dots, p.pair_capacity);
    check_array("scores", pairs.scores, p.pair_capacity);
    check_array("needed_pairs", needed_pairs, 1);
}

void check_united(const int32_t *united, int64_t count, const meft_sparse &p) {
    if (p.scope != MEFT_SCOPE_UNION) fail(MEFT_INVALID, "scope is %d, expected that of a union", p.scope);
    check_range("united_count", count, 0, p.neurons);
    check_array("united", united, count);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t least = i == 0 ? 0 : int64_t(united[i - 1]) + 1;
        if (united[i] >= least && united[i] < p.neurons) continue;
        fail(MEFT_INVALID, "united[%" PRId64 "] is %d, expected neurons that increase below %" PRId64, i, united[i],
             p.neurons);
    }
}

// A matrix that takes a step: its state, and that no row is ahead of it.
void check_state(const char *name, const RowState &state, const meft_sparse &p, int64_t step) {
    check_array("hi", state.hi, p.neurons * p.hidden);
    check_array("lo", state.lo, p.neurons * p.hidden);
    check_array("m", state.m, p.neurons * p.hidden);
    check_array("v", state.v, p.neurons * p.hidden);
    check_array("last_step", state.last_step, p.neurons);
    for (int64_t row = 0; row < p.neurons; ++row) {
        if (std::llabs(state.last_step[row]) < step) continue;
        fail(MEFT_INVALID, "row %" PRId64 " of %s is current to step %d, so it cannot take step %" PRId64, row, name,
             std::abs(state.last_step[row]), step);
    }
}

}  // namespace

namespace meft {

void check_sparse(const meft_sparse *p) {
    const int64_t most = std::numeric_limits<int32_t>::max();
    check_struct("params", p, sizeof *p);
    check_range("gate", p->gate, MEFT_GATE_RAW, MEFT_GATE_NONE);
    check_range("scope", p->scope, MEFT_SCOPE_TOKEN, MEFT_SCOPE_UNION);
    check_range("compute", p->compute, MEFT_F32, MEFT_BF16);
    check_range("tokens", p->tokens, 0, most);
    check_range("hidden", p->hidden, 1, most);
    check_range("neurons", p->neurons, 1, most);
    check_range("experts", p->experts, 1, p->neurons);
    check_range("active_experts", p->active_experts, 1, p->experts);
    check_range("top_k", p->top_k, 1, most);
    check_range("pair_capacity", p->pair_capacity, 0, most);
    check_range("tokens * active_experts", p->tokens * p->active_experts, 0, most);
    if (p->neurons % p->experts != 0) {
        fail(MEFT_INVALID, "neurons is %" PRId64 ", expected a multiple of experts = %" PRId64, p->neurons, p->experts);
    }
}

}  // namespace meft

extern "C" {

meft_status meft_sparse_route(meft_ctx *ctx, float *logits, int32_t *experts, int32_t *expert_tokens, const float *h,
                              const float *gate_weight, const meft_sparse *params) {
    return guarded(ctx, "sparse_route", [&] {
        check_sparse(params);
        check_array("logits", logits, params->tokens * params->experts);
        check_array("experts", experts, params->tokens * params->active_experts);
        check_array("expert_tokens", expert_tokens, params->experts);
        check_array("h", h, params->tokens * params->hidden);
        check_array("gate_weight", gate_weight, params->experts * params->hidden);
        present(ctx->kernels->sparse_route->route)(*ctx, logits, experts, expert_tokens, h, gate_weight, *params);
    });
}

meft_status meft_sparse_forward(meft_ctx *ctx, float *y, int32_t *offsets, int32_t *neurons, float *dots, float *scores,
                                int64_t *needed_pairs, const float *h, const float *logits, const int32_t *experts,
                                const uint16_t *keys_hi, const int16_t *keys_lo, const uint16_t *values_hi,
                                const int16_t *values_lo, const meft_sparse *params) {
    return guarded(ctx, "sparse_forward", [&] {
        check_sparse(params);
        const ForwardPairs pairs = {offsets, neurons, dots, scores};
        check_room(pairs, needed_pairs, *params);
        check_array("h", h, params->tokens * params->hidden);
        check_array("logits", logits, params->tokens * params->experts);
        check_experts(experts, *params);
        check_planes("keys_hi", "keys_lo", keys_hi, keys_lo, *params);
        check_planes("values_hi", "values_lo", values_hi, values_lo, *params);
        *needed_pairs =
            present(ctx->kernels->sparse_forward->forward)(*ctx, y, pairs, h, logits, experts, {keys_hi, keys_lo},
                                                           {values_hi, values_lo}, *params);
    });
}

meft_status meft_sparse_values(meft_ctx *ctx, float *y, const int32_t *offsets, const int32_t *neurons,
                               const float *scores, const uint16_t *values_hi, const int16_t *values_lo,
                               const meft_sparse *params) {
    return guarded(ctx, "sparse_values", [&] {
        check_sparse(params);
        check_array("y", y, params->tokens * params->hidden);
        check_neurons(offsets, neurons, nullptr, *params);
        check_array("scores", scores, offsets[params->tokens]);
        check_planes("values_hi", "values_lo", values_hi, values_lo, *params);
        present(ctx->kernels->sparse_forward->values)(*ctx, y, offsets, neurons, scores, {values_hi, values_lo},
                                                      *params);
    });
}

meft_status meft_sparse_forward_among(meft_ctx *ctx, float *y, float *logits, int32_t *offsets, int32_t *neurons,
                                      float *dots, float *scores, int64_t *needed_pairs, const float *h,
                                      const float *gate_weight, const int32_t *united, int64_t united_count,
                                      const uint16_t *keys_hi, const int16_t *keys_lo, const uint16_t *values_hi,
                                      const int16_t *values_lo, const meft_sparse *params) {
    return guarded(ctx, "sparse_forward_among", [&] {
        check_sparse(params);
        check_array("logits", logits, params->tokens * params->experts);
        const ForwardPairs pairs = {offsets, neurons, dots, scores};
        check_room(pairs, needed_pairs, *params);
        check_array("h", h, params->tokens * params->hidden);
        check_array("gate_weight", gate_weight, params->experts * params->hidden);
        check_united(united, united_count, *params);
        check_planes("keys_hi", "keys_lo", keys_hi, keys_lo, *params);
        check_planes("values_hi", "values_lo", values_hi, values_lo, *params);
        present(ctx->kernels->sparse_route->route)(*ctx, logits, nullptr, nullptr, h, gate_weight, *params);
        *needed_pairs = present(ctx->kernels->sparse_forward->among)(*ctx, y, pairs, h, logits, {united, united_count},
                                                                     {keys_hi, keys_lo}, {values_hi, values_lo},
                                                                     *params);
    });
}

meft_status meft_sparse_touch(meft_ctx *ctx, int32_t *slots, int32_t *rows, int64_t *row_count, const int32_t *neurons,
                              int64_t pairs, int64_t neuron_count) {
    return guarded(ctx, "sparse_touch", [&] {
        check_range("neuron_count", neuron_count, 0, std::numeric_limits<int32_t>::max());
        check_count("pairs", pairs);
        check_array("slots", slots, neuron_count);
        check_array("rows", rows, neuron_count);
        check_array("row_count", row_count, 1);
        check_array("neurons", neurons, pairs);
        check_range("row_count", *row_count, 0, neuron_count);
        for (int64_t i = 0; i < pairs; ++i) check_range("a neuron of the pairs", neurons[i], 0, neuron_count - 1);
        int64_t in_use = 0;
        for (int64_t j = 0; j < neuron_count; ++j) in_use += slots[j] >= 0;
        if (in_use != *row_count) {
            fail(MEFT_INVALID, "%" PRId64 " neurons have slots, but row_count is %" PRId64, in_use, *row_count);
        }
        constexpr int32_t kAsked = -2;  // without a slot, but named by a pair
        for (int64_t i = 0; i < pairs; ++i) {
            if (slots[neurons[i]] < 0) slots[neurons[i]] = kAsked;
        }
        int64_t count = *row_count;
        for (int64_t j = 0; j < neuron_count; ++j) {
            if (slots[j] != kAsked) continue;
            rows[count] = int32_t(j);
            slots[j] = int32_t(count++);
        }
        *row_count = count;
    });
}

meft_status meft_sparse_backward(meft_ctx *ctx, float *dh, float *dgate_weight, float *dkeys, float *dvalues,
                                 const float *dy, const float *h, const float *logits, const int32_t *experts,
                                 const int32_t *offsets, const int32_t *neurons, const float *dots, const float *scores,
                                 const int32_t *slots, int64_t first_new_slot, const float *gate_weight,
                                 const uint16_t *keys_hi, const int16_t *keys_lo, const uint16_t *values_hi,
                                 const int16_t *values_lo, const meft_sparse *params) {
    return guarded(ctx, "sparse_backward", [&] {
        check_sparse(params);
        check_count("first_new_slot", first_new_slot);
        check_array("dh", dh, params->tokens * params->hidden);
        check_array("dy", dy, params->tokens * params->hidden);
        check_array("h", h, params->tokens * params->hidden);
        check_array("logits", logits, params->tokens * params->experts);
        check_experts(experts, *params);
        const FiredPairs pairs = {offsets, neurons, dots, scores};
        check_array("slots", slots, params->neurons);
        check_pairs(pairs, slots, *params);
        check_array("dvalues", dvalues, offsets[params->tokens]);
        if (params->gate != MEFT_GATE_NONE) {
            check_array("gate_weight", gate_weight, params->experts * params->hidden);
        }
        check_planes("keys_hi", "keys_lo", keys_hi, keys_lo, *params);
        check_planes("values_hi", "values_lo", values_hi, values_lo, *params);
        const SparseGradients gradients = {dh, dgate_weight, dkeys, dvalues, slots, first_new_slot};
        present(ctx->kernels->sparse_backward->backward)(*ctx, gradients, dy, h, logits, pairs, gate_weight,
                                                         {keys_hi, keys_lo}, {values_hi, values_lo}, *params);
    });
}

meft_status meft_sparse_backward_step(
    meft_ctx *ctx, float *dh, float *dgate_weight, double *squares, uint16_t *keys_hi, int16_t *keys_lo, float *keys_m,
    float *keys_v, int32_t *keys_last_step, uint16_t *values_hi, int16_t *values_lo, float *values_m, float *values_v,
    int32_t *values_last_step, const float *dy, const float *h, const float *logits, const int32_t *experts,
    const int32_t *offsets, const int32_t *neurons, const float *dots, const float *scores, const float *gate_weight,
    const float *lr_history, double clip, const meft_sparse *params, const meft_adamw *adam) {
    return guarded(ctx, "sparse_backward_step", [&] {
        check_sparse(params);
        check_array("dh", dh, params->tokens * params->hidden);
        check_array("squares", squares, 3);
        check_array("dy", dy, params->tokens * params->hidden);
        check_array("h", h, params->tokens * params->hidden);
        check_array("logits", logits, params->tokens * params->experts);
        check_experts(experts, *params);
        const FiredPairs pairs = {offsets, neurons, dots, scores};
        check_pairs(pairs, nullptr, *params);
        if (params->gate != MEFT_GATE_NONE) {
            check_array("gate_weight", gate_weight, params->experts * params->hidden);
        }
        check_adamw(adam, lr_history);
        check_mode(*adam);
        if (!(clip >= 0) || std::isinf(clip)) fail(MEFT_INVALID, "clip is %g, expected 0 or more", clip);
        const RowState keys = {keys_hi, keys_lo, keys_m, keys_v, keys_last_step, params->hidden};
        const RowState values = {values_hi, values_lo, values_m, values_v, values_last_step, params->hidden};
        if (keys_m != nullptr) check_state("keys", keys, *params, adam->step);
        check_planes("keys_hi", "keys_lo", keys_hi, keys_lo, *params);
        check_state("values", values, *params, adam->step);
        present(ctx->kernels->sparse_backward->backward_step)(*ctx, {dh, dgate_weight, nullptr, nullptr, nullptr, 0},
                                                     {keys, values, lr_history, adam, clip, squares}, dy, h, logits,
                                                     pairs, gate_weight, *params);
    });
}

}  // extern "C"
