// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "core/mapping.h"
#include "cpu/kernel_table.h"

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

meft_status meft_rmsnorm_forward(meft_ctx *ctx, float *y, float *rstd, const float *x, const void *w,
                                 const meft_weight *w_desc, int64_t rows, float eps) {
    return guarded(ctx, "rmsnorm_forward", [&] {
        const void *weight = vector_data(w, w_desc);
        const int64_t hidden = w_desc->cols;
        check_count("rows", rows);
        check_array("y", y, rows * hidden);
        check_array("rstd", rstd, rows);
        check_array("x", x, rows * hidden);
        if (!(eps >= 0)) fail(MEFT_INVALID, "eps is %g, expected 0 or more", double(eps));
        ctx->kernels->norm->rmsnorm_forward(*ctx, y, rstd, x, weight, w_desc->dtype, rows, hidden, eps);
    });
}

meft_status meft_rmsnorm_backward(meft_ctx *ctx, float *dx, float *dweight, const float *dy, const float *x,
                                  const float *rstd, const void *w, const meft_weight *w_desc, int64_t rows,
                                  int32_t accumulate) {
    return guarded(ctx, "rmsnorm_backward", [&] {
        const void *weight = vector_data(w, w_desc);
        const int64_t hidden = w_desc->cols;
        check_count("rows", rows);
        check_array("dx", dx, rows * hidden);
        check_array("dy", dy, rows * hidden);
        check_array("x", x, rows * hidden);
        check_array("rstd", rstd, rows);
        ctx->kernels->norm->rmsnorm_backward(*ctx, dx, dweight, dy, x, rstd, weight, w_desc->dtype, rows, hidden,
                                             accumulate != 0);
    });
}

}  // extern "C"
