// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_sizes(int64_t tokens, int64_t experts, int64_t active) {
    check_count("tokens", tokens);
    if (experts < 1 || experts > INT32_MAX) {
        fail(MEFT_INVALID, "experts is %" PRId64 ", expected 1 to %d", experts, INT32_MAX);
    }
    if (active < 1 || active > experts) {
        fail(MEFT_INVALID, "active is %" PRId64 ", expected 1 to %" PRId64 ", the experts", active, experts);
    }
}

// numbers[i] are from 0 to below `end`.
void check_numbers(const char *name, const int32_t *numbers, int64_t count, int64_t end) {
    check_array(name, numbers, count);
    for (int64_t i = 0; i < count; ++i) {
        if (numbers[i] < 0 || numbers[i] >= end) {
            fail(MEFT_INVALID, "%s[%" PRId64 "] is %d, expected 0 to %" PRId64, name, i, numbers[i], end - 1);
        }
    }
}

}  // namespace

extern "C" {

meft_status meft_experts_choose(meft_ctx *ctx, float *weights, int32_t *chosen, const float *logits, int64_t tokens,
                                int64_t experts, int64_t active, int32_t normalised) {
    return guarded(ctx, "experts_choose", [&] {
        check_sizes(tokens, experts, active);
        check_matrix("weights", weights, tokens, active);
        check_matrix("chosen", chosen, tokens, active);
        check_matrix("logits", logits, tokens, experts);
        present(ctx->kernels->experts->choose)(*ctx, weights, chosen, logits,
                                               {tokens, experts, active, normalised != 0});
    });
}

meft_status meft_experts_weights(meft_ctx *ctx, float *weights, const int32_t *chosen, const float *logits,
                                 int64_t tokens, int64_t experts, int64_t active, int32_t normalised) {
    return guarded(ctx, "experts_weights", [&] {
        check_sizes(tokens, experts, active);
        check_matrix("weights", weights, tokens, active);
        check_matrix("chosen", chosen, tokens, active);
        check_matrix("logits", logits, tokens, experts);
        check_numbers("chosen", chosen, tokens * active, experts);
        present(ctx->kernels->experts->weights)(*ctx, weights, chosen, logits,
                                                {tokens, experts, active, normalised != 0});
    });
}

meft_status meft_experts_choose_backward(meft_ctx *ctx, float *dlogits, const float *dweights, const float *logits,
                                         const int32_t *chosen, int64_t tokens, int64_t experts, int64_t active,
                                         int32_t normalised) {
    return guarded(ctx, "experts_choose_backward", [&] {
        check_sizes(tokens, experts, active);
        check_matrix("dlogits", dlogits, tokens, experts);
        check_matrix("dweights", dweights, tokens, active);
        check_matrix("logits", logits, tokens, experts);
        check_matrix("chosen", chosen, tokens, active);
        check_numbers("chosen", chosen, tokens * active, experts);
        present(ctx->kernels->experts->choose_backward)(*ctx, dlogits, dweights, logits, chosen,
                                                        {tokens, experts, active, normalised != 0});
    });
}

meft_status meft_experts_gather(meft_ctx *ctx, void *y, const void *x, const int32_t *rows, int64_t count,
                                int64_t x_rows, int64_t width, int32_t y_dtype, int32_t x_dtype) {
    return guarded(ctx, "experts_gather", [&] {
        check_count("count", count);
        check_count("x_rows", x_rows);
        check_count("width", width);
        check_dtype("y", y_dtype);
        check_dtype("x", x_dtype);
        check_matrix("y", y, count, width);
        check_matrix("x", x, x_rows, width);
        check_numbers("rows", rows, count, x_rows);
        present(ctx->kernels->experts->gather)(*ctx, {y, y_dtype}, {x, x_dtype}, rows, count, x_rows, width);
    });
}

meft_status meft_experts_combine(meft_ctx *ctx, float *y, const void *x, const int32_t *places, const float *weights,
                                 int64_t tokens, int64_t active, int64_t width, int32_t x_dtype, int32_t accumulate) {
    return guarded(ctx, "experts_combine", [&] {
        check_count("tokens", tokens);
        check_count("active", active);
        check_count("width", width);
        check_dtype("x", x_dtype);
        check_matrix("y", y, tokens, width);
        check_tensor("x", x, {tokens, active, width});
        check_matrix("places", places, tokens, active);
        check_numbers("places", places, tokens * active, tokens * active);
        present(ctx->kernels->experts->combine)(*ctx, y, {x, x_dtype}, places, weights, tokens, active, width,
                                                accumulate != 0);
    });
}

meft_status meft_experts_weigh_backward(meft_ctx *ctx, void *dx, float *dweights, const void *dy, const void *x,
                                        const int32_t *slots, const float *weights, int64_t count, int64_t width,
                                        int32_t dtype) {
    return guarded(ctx, "experts_weigh_backward", [&] {
        check_count("count", count);
        check_count("width", width);
        check_dtype("dx", dtype);
        check_matrix("dx", dx, count, width);
        check_array("dweights", dweights, count);
        check_matrix("dy", dy, count, width);
        check_matrix("x", x, count, width);
        check_array("weights", weights, count);
        check_numbers("slots", slots, count, count);
        present(ctx->kernels->experts->weigh_backward)(*ctx, dx, dweights, dy, x, slots, weights, count, width, dtype);
    });
}

}  // extern "C"
