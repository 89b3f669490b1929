// SPDX-License-Identifier: Apache-2.0
// Linear layers: arguments are checked here, products computed by the context's kernels.
#include <cinttypes>

#include "core/guard.h"
#include "core/mapping.h"
#include "cpu/kernel_table.h"
#include "cpu/onednn.h"

using namespace meft;

namespace {

StoredWeight stored_bias(const void *data, const meft_weight *descriptor, int64_t rows) {
    if (descriptor == nullptr) {
        if (data != nullptr) fail(MEFT_INVALID, "bias has data but bias_desc is null");
        return {nullptr, 0, 0, 0, MEFT_F32};
    }
    const StoredWeight bias = stored_weight("bias", data, descriptor);
    if (bias.rows != 1 || bias.cols != rows) {
        fail(MEFT_INVALID, "bias is %" PRId64 " x %" PRId64 ", expected 1 x %" PRId64 " (the weight's rows)", bias.rows,
             bias.cols, rows);
    }
    return bias;
}

// A weight, and an activation (rows apart by its columns), as oneDNN sees them; transposed swaps the two indices.
OnednnMatrix onednn_matrix(const StoredWeight &w, bool transposed) {
    return transposed ? OnednnMatrix{w.data, 1, w.stride, w.dtype} : OnednnMatrix{w.data, w.stride, 1, w.dtype};
}
OnednnMatrix onednn_matrix(ConstActivation x, int64_t cols, bool transposed) {
    return onednn_matrix(StoredWeight{x.data, 0, cols, cols, x.dtype}, transposed);
}

// oneDNN writes f32: results in bf16 are our own kernels'.
float *f32_result(Activation y) { return y.dtype == MEFT_F32 ? static_cast<float *>(y.data) : nullptr; }

// y (+)= x w^T + bias.
void forward(meft_ctx &lane, Activation y, ConstActivation x, const StoredWeight &w, const StoredWeight &bias,
             int64_t tokens, int32_t compute, bool accumulate) {
    const linear_kernels &own = *lane.kernels->linear;
    float *to = f32_result(y);
    if (to == nullptr || !onednn_takes(lane, w.dtype, tokens, w.rows, w.cols)) {
        own.forward(lane, y, x, w, bias, tokens, compute, accumulate);
        return;
    }
    onednn_multiply(lane, {to, w.rows, onednn_matrix(x, w.cols, false), onednn_matrix(w, true), tokens, w.rows, w.cols,
                           compute, accumulate, 0});
    if (bias.data != nullptr) own.add_bias(lane, to, bias, tokens);
}

// dx (+)= dy w.
void backward_data(meft_ctx &lane, Activation dx, ConstActivation dy, const StoredWeight &w, int64_t tokens,
                   int32_t compute, bool accumulate) {
    float *to = f32_result(dx);
    if (to == nullptr || !onednn_takes(lane, w.dtype, tokens, w.cols, w.rows)) {
        lane.kernels->linear->backward_data(lane, dx, dy, w, tokens, compute, accumulate);
        return;
    }
    onednn_multiply(lane, {to, w.cols, onednn_matrix(dy, w.rows, false), onednn_matrix(w, false), tokens, w.cols,
                           w.rows, compute, accumulate, 0});
}

// dweight += dy^T x.
void backward_weight(meft_ctx &lane, float *dweight, ConstActivation dy, ConstActivation x, int64_t tokens,
                     int64_t rows, int64_t cols, int32_t compute) {
    if (!onednn_takes(lane, MEFT_F32, rows, cols, tokens)) {
        lane.kernels->linear->backward_weight(lane, dweight, dy, x, tokens, rows, cols, compute);
        return;
    }
    onednn_multiply(lane, {dweight, cols, onednn_matrix(dy, rows, true), onednn_matrix(x, cols, false), rows, cols,
                           tokens, compute, true, 0});
}

}  // namespace

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
        forward(*ctx, {y, y_dtype}, {x, x_dtype}, weight, bias_row, tokens, compute, accumulate != 0);
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
        backward_data(*ctx, {dx, dx_dtype}, {dy, dy_dtype}, weight, tokens, compute, accumulate != 0);
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
        backward_weight(*ctx, dweight, slope, {x, x_dtype}, tokens, rows, cols, compute);
        if (dbias != nullptr) ctx->kernels->linear->backward_bias(*ctx, dbias, slope, tokens, rows);
    });
}

}  // extern "C"
