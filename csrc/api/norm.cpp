// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "core/mapping.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

// A weight that is a vector.
StoredWeight stored_vector(const void *w, const meft_weight *w_desc) {
    const StoredWeight vector = stored_weight("w", w, w_desc);
    if (vector.rows != 1) fail(MEFT_INVALID, "w has %" PRId64 " rows, expected a vector, 1 row", vector.rows);
    return vector;
}

void check_norm(const meft_norm *params, const float *stats) {
    check_struct("params", params, sizeof(meft_norm));
    const bool layer = params->kind == MEFT_NORM_LAYER;
    if (!layer && params->kind != MEFT_NORM_RMS) {
        fail(MEFT_INVALID, "kind is %d, expected MEFT_NORM_RMS or MEFT_NORM_LAYER", params->kind);
    }
    check_count("rows", params->rows);
    check_matrix("stats", stats, layer ? 2 : 1, params->rows);
    check_dtype("x", params->x_dtype);
    if (!(params->eps >= 0)) fail(MEFT_INVALID, "eps is %g, expected 0 or more", double(params->eps));
}

}  // namespace

extern "C" {

meft_status meft_norm_forward(meft_ctx *ctx, void *y, float *stats, const void *x, const void *w,
                              const meft_weight *w_desc, const void *bias, const meft_weight *bias_desc,
                              const meft_norm *params) {
    return guarded(ctx, "norm_forward", [&] {
        const StoredWeight weight = stored_vector(w, w_desc);
        const StoredWeight added = stored_bias(bias, bias_desc, weight.cols);
        check_norm(params, stats);
        check_dtype("y", params->y_dtype);
        check_matrix("y", y, params->rows, weight.cols);
        check_matrix("x", x, params->rows, weight.cols);
        present(ctx->kernels->norm->forward)(*ctx, y, stats, x, {weight, added}, *params);
    });
}

meft_status meft_norm_backward(meft_ctx *ctx, void *dx, float *dweight, float *dbias, const void *dy, const void *x,
                               const float *stats, const void *w, const meft_weight *w_desc, const meft_norm *params) {
    return guarded(ctx, "norm_backward", [&] {
        const StoredWeight weight = stored_vector(w, w_desc);
        check_norm(params, stats);
        check_matrix("dx", dx, params->rows, weight.cols);
        check_matrix("dy", dy, params->rows, weight.cols);
        check_matrix("x", x, params->rows, weight.cols);
        present(ctx->kernels->norm->backward)(*ctx, dx, dweight, dbias, dy, x, stats, weight, *params);
    });
}

}  // extern "C"
