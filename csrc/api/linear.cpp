// SPDX-License-Identifier: Apache-2.0
// Linear layers: arguments are checked here, products computed by the context's kernels.
#include <cinttypes>

#include "core/guard.h"
#include "core/mapping.h"
#include "kernels/kernel_table.h"

using namespace meft;

extern "C" {

meft_status meft_linear_forward(meft_ctx *ctx, void *y, const void *x, const void *w, const meft_weight *w_desc,
                                const void *bias, const meft_weight *bias_desc, int64_t tokens, int32_t y_dtype,
                                int32_t x_dtype, int32_t compute, int32_t accumulate) {
    return guarded(ctx, "linear_forward", [&] {
        check_count("tokens", tokens);
        check_compute(compute);
        check_product_dtype("y", y_dtype, compute);
        check_product_dtype("x", x_dtype, compute);
        const StoredWeight weight = stored_weight("w", w, w_desc);
        const StoredWeight bias_row = stored_bias(bias, bias_desc, weight.rows);
        check_matrix("y", y, tokens, weight.rows);
        check_matrix("x", x, tokens, weight.cols);
        present(ctx->kernels->linear->forward)(*ctx, {y, y_dtype}, {x, x_dtype}, weight, bias_row, tokens, compute,
                                               accumulate != 0);
    });
}

meft_status meft_linear_backward_data(meft_ctx *ctx, void *dx, const void *dy, const void *w, const meft_weight *w_desc,
                                      int64_t tokens, int32_t dx_dtype, int32_t dy_dtype, int32_t compute,
                                      int32_t accumulate) {
    return guarded(ctx, "linear_backward_data", [&] {
        check_count("tokens", tokens);
        check_compute(compute);
        check_product_dtype("dx", dx_dtype, compute);
        check_product_dtype("dy", dy_dtype, compute);
        const StoredWeight weight = stored_weight("w", w, w_desc);
        check_matrix("dx", dx, tokens, weight.cols);
        check_matrix("dy", dy, tokens, weight.rows);
        present(ctx->kernels->linear->backward_data)(*ctx, {dx, dx_dtype}, {dy, dy_dtype}, weight, tokens, compute,
                                                     accumulate != 0);
    });
}

meft_status meft_linear_backward_weight(meft_ctx *ctx, float *dweight, float *dbias, const void *dy, const void *x,
                                        int64_t tokens, int64_t rows, int64_t cols, int32_t dy_dtype, int32_t x_dtype,
                                        int32_t compute) {
    return guarded(ctx, "linear_backward_weight", [&] {
        check_count("tokens", tokens);
        check_count("rows", rows);
        check_count("cols", cols);
        check_compute(compute);
        check_product_dtype("dy", dy_dtype, compute);
        check_product_dtype("x", x_dtype, compute);
        check_matrix("dweight", dweight, rows, cols);
        check_matrix("dy", dy, tokens, rows);
        check_matrix("x", x, tokens, cols);
        const ConstActivation slope{dy, dy_dtype};
        present(ctx->kernels->linear->backward_weight)(*ctx, dweight, slope, {x, x_dtype}, tokens, rows, cols, compute);
        if (dbias != nullptr) present(ctx->kernels->linear->backward_bias)(*ctx, dbias, slope, tokens, rows);
    });
}

}  // extern "C"
