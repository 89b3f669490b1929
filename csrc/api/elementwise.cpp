// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

extern "C" {

meft_status meft_add(meft_ctx *ctx, void *y, const void *x, int64_t count, int32_t dtype) {
    return guarded(ctx, "add", [&] {
        check_count("count", count);
        check_dtype("y", dtype);
        check_array("y", y, count);
        check_array("x", x, count);
        present(ctx->kernels->elementwise->add)(*ctx, y, x, count, dtype);
    });
}

meft_status meft_scaled_add(meft_ctx *ctx, float *y, const float *x, int64_t count, float factor) {
    return guarded(ctx, "scaled_add", [&] {
        check_count("count", count);
        check_array("y", y, count);
        check_array("x", x, count);
        present(ctx->kernels->elementwise->scaled_add)(*ctx, y, x, count, factor);
    });
}

meft_status meft_scale(meft_ctx *ctx, float *x, int64_t count, float factor) {
    return guarded(ctx, "scale", [&] {
        check_count("count", count);
        check_array("x", x, count);
        present(ctx->kernels->elementwise->scale)(*ctx, x, count, factor);
    });
}

meft_status meft_softcap(meft_ctx *ctx, float *x, int64_t count, float cap) {
    return guarded(ctx, "softcap", [&] {
        check_count("count", count);
        check_array("x", x, count);
        if (!(cap > 0)) fail(MEFT_INVALID, "cap is %g, expected more than 0", double(cap));
        present(ctx->kernels->elementwise->softcap)(*ctx, x, count, cap);
    });
}

meft_status meft_sum_squares(meft_ctx *ctx, double *out, const float *x, int64_t count) {
    return guarded(ctx, "sum_squares", [&] {
        check_count("count", count);
        check_array("out", out, 1);
        check_array("x", x, count);
        *out = present(ctx->kernels->elementwise->sum_squares)(*ctx, x, count);
    });
}

}  // extern "C"
