// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "core/mapping.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

// A weight that is a vector.
const void *vector_data(const void *w, const meft_weight *w_desc) {
    const void *data = weight_data("w", w, w_desc);
    if (w_desc->rows != 1) fail(MEFT_INVALID, "w has %" PRId64 " rows, expected a vector, 1 row", w_desc->rows);
    return data;
}

}  // namespace

extern "C" {

meft_status meft_rmsnorm_forward(meft_ctx *ctx, void *y, float *rstd, const void *x, const void *w,
                                 const meft_weight *w_desc, int64_t rows, int32_t y_dtype, int32_t x_dtype, float eps) {
    return guarded(ctx, "rmsnorm_forward", [&] {
        const void *weight = vector_data(w, w_desc);
        const int64_t hidden = w_desc->cols;
        check_count("rows", rows);
        check_dtype("y", y_dtype);
        check_dtype("x", x_dtype);
        check_matrix("y", y, rows, hidden);
        check_array("rstd", rstd, rows);
        check_matrix("x", x, rows, hidden);
        if (!(eps >= 0)) fail(MEFT_INVALID, "eps is %g, expected 0 or more", double(eps));
        present(ctx->kernels->norm->rmsnorm_forward)(*ctx, {y, y_dtype}, rstd, {x, x_dtype}, weight, w_desc->dtype,
                                                     rows, hidden, eps);
    });
}

meft_status meft_rmsnorm_backward(meft_ctx *ctx, void *dx, float *dweight, const void *dy, const void *x,
                                  const float *rstd, const void *w, const meft_weight *w_desc, int64_t rows,
                                  int32_t dtype, int32_t accumulate) {
    return guarded(ctx, "rmsnorm_backward", [&] {
        const void *weight = vector_data(w, w_desc);
        const int64_t hidden = w_desc->cols;
        check_count("rows", rows);
        check_dtype("dx", dtype);
        check_matrix("dx", dx, rows, hidden);
        check_matrix("dy", dy, rows, hidden);
        check_matrix("x", x, rows, hidden);
        check_array("rstd", rstd, rows);
        present(ctx->kernels->norm->rmsnorm_backward)(*ctx, {dx, dtype}, dweight, dy, x, rstd, weight, w_desc->dtype,
                                                      rows, hidden, accumulate != 0);
    });
}

}  // extern "C"
