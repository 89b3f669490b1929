// SPDX-License-Identifier: Apache-2.0
// The sparse adapter as a lane beside the model's sees it: one call each way, made of the calls of sparse.cpp and
// adamw.cpp. Each of those checks its own arguments and leaves its own text.
#include "api/sparse_checks.h"
#include "core/guard.h"
#include "core/lane.h"

using namespace meft;

namespace {

// Writes the experts that at least one token goes to, increasing. Returns how many.
int64_t routed_experts(int32_t *routed, const int32_t *expert_tokens, int64_t experts) {
    int64_t count = 0;
    for (int64_t e = 0; e < experts; ++e) {
        if (expert_tokens[e] > 0) routed[count++] = int32_t(e);
    }
    return count;
}

}  // namespace

extern "C" {

meft_status meft_sparse_branch_forward(meft_ctx *ctx, float *y, float *logits, int32_t *experts, int32_t *expert_tokens,
                                       int32_t *routed, int32_t *offsets, int32_t *neurons, float *dots, float *scores,
                                       int64_t *needed_pairs, int64_t *times_ns, const float *h,
                                       const float *gate_weight, uint16_t *keys_hi, int16_t *keys_lo, float *keys_m,
                                       float *keys_v, int32_t *keys_last_step, uint16_t *values_hi, int16_t *values_lo,
                                       float *values_m, float *values_v, int32_t *values_last_step,
                                       const float *lr_history, const meft_sparse *params, const meft_adamw *adam) {
    meft_status status = guarded(ctx, "sparse_branch_forward", [&] {
        check_sparse(params);
        check_array("routed", routed, params->experts);
        check_array("times_ns", times_ns, 4);
    });
    if (status != MEFT_OK) return status;
    const int64_t start = now_ns();
    status = meft_sparse_route(ctx, logits, experts, expert_tokens, h, gate_weight, params);
    const int64_t routed_at = now_ns();
    if (status != MEFT_OK) return status;
    if (adam != nullptr) {
        const int64_t count = routed_experts(routed, expert_tokens, params->experts);
        const int64_t rows = params->neurons / params->experts;
        if (keys_last_step != nullptr) {
            status = meft_adamw_rows_catch_up(ctx, keys_hi, keys_lo, keys_m, keys_v, keys_last_step, routed, lr_history,
                                              count, rows, params->hidden, 0, adam);
        }
        if (status == MEFT_OK && values_last_step != nullptr) {
            status = meft_adamw_rows_catch_up(ctx, values_hi, values_lo, values_m, values_v, values_last_step, routed,
                                              lr_history, count, rows, params->hidden, 0, adam);
        }
    }
    if (status != MEFT_OK) return status;
    const int64_t ready_at = now_ns();
    take_lap(*ctx);  // should there be no room for the pairs
    status = meft_sparse_forward(ctx, y, offsets, neurons, dots, scores, needed_pairs, h, logits, experts, keys_hi,
                                 keys_lo, values_hi, values_lo, params);
    times_ns[0] = routed_at - start;
    times_ns[1] = ready_at - routed_at;
    times_ns[2] = ctx->lap_ns - ready_at;
    times_ns[3] = now_ns() - ctx->lap_ns;
    return status;
}

meft_status meft_sparse_branch_backward(meft_ctx *ctx, float *dh, float *dgate_weight, float *dkeys, float *dvalues,
                                        int32_t *slots, int32_t *rows, int64_t *row_count, const float *dy,
                                        const float *h, const float *logits, const int32_t *experts,
                                        const int32_t *offsets, const int32_t *neurons, const float *dots,
                                        const float *scores, int64_t slot_capacity, const float *gate_weight,
                                        const uint16_t *keys_hi, const int16_t *keys_lo, const uint16_t *values_hi,
                                        const int16_t *values_lo, const meft_sparse *params) {
    int64_t pairs = 0, first_new_slot = 0;
    meft_status status = guarded(ctx, "sparse_branch_backward", [&] {
        check_sparse(params);
        check_array("offsets", offsets, params->tokens + 1);
        check_array("row_count", row_count, 1);
        check_array("dh", dh, params->tokens * params->hidden);
        pairs = offsets[params->tokens];
        first_new_slot = *row_count;
        zero_bytes(*ctx, dh, params->tokens * params->hidden * int64_t(sizeof(float)));
    });
    if (status != MEFT_OK) return status;
    status = meft_sparse_touch(ctx, slots, rows, row_count, neurons, pairs, params->neurons);
    if (status != MEFT_OK) return status;
    status = guarded(ctx, "sparse_branch_backward", [&] {
        if (*row_count > slot_capacity) {
            fail(MEFT_INVALID, "gradients have room for %lld rows, but %lld are touched", (long long)slot_capacity,
                 (long long)*row_count);
        }
    });
    if (status != MEFT_OK) return status;
    return meft_sparse_backward(ctx, dh, dgate_weight, dkeys, dvalues, dy, h, logits, experts, offsets, neurons, dots,
                                scores, slots, first_new_slot, gate_weight, keys_hi, keys_lo, values_hi, values_lo,
                                params);
}

}  // extern "C"
