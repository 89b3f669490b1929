// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

extern "C" {

meft_status meft_swiglu_forward(meft_ctx *ctx, void *y, const void *gate, const void *up, int64_t count,
                                int32_t dtype) {
    return guarded(ctx, "swiglu_forward", [&] {
        check_count("count", count);
        check_dtype("y", dtype);
        check_array("y", y, count);
        check_array("gate", gate, count);
        check_array("up", up, count);
        present(ctx->kernels->activation->swiglu_forward)(*ctx, y, gate, up, count, dtype);
    });
}

meft_status meft_swiglu_backward(meft_ctx *ctx, void *dgate, void *dup, const void *dy, const void *gate,
                                 const void *up, int64_t count, int32_t dtype) {
    return guarded(ctx, "swiglu_backward", [&] {
        check_count("count", count);
        check_dtype("dgate", dtype);
        check_array("dgate", dgate, count);
        check_array("dup", dup, count);
        check_array("dy", dy, count);
        check_array("gate", gate, count);
        check_array("up", up, count);
        present(ctx->kernels->activation->swiglu_backward)(*ctx, dgate, dup, dy, gate, up, count, dtype);
    });
}

meft_status meft_relu_forward(meft_ctx *ctx, float *y, const float *x, int64_t count) {
    return guarded(ctx, "relu_forward", [&] {
        check_count("count", count);
        check_array("y", y, count);
        check_array("x", x, count);
        present(ctx->kernels->activation->relu_forward)(*ctx, y, x, count);
    });
}

meft_status meft_relu_backward(meft_ctx *ctx, float *dx, const float *dy, const float *y, int64_t count) {
    return guarded(ctx, "relu_backward", [&] {
        check_count("count", count);
        check_array("dx", dx, count);
        check_array("dy", dy, count);
        check_array("y", y, count);
        present(ctx->kernels->activation->relu_backward)(*ctx, dx, dy, y, count);
    });
}

}  // extern "C"
