// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>
#include <cmath>
#include <limits>
#include <vector>

#include "api/adamw_checks.h"
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_fraction(const char *name, float value) {
    if (!(value >= 0 && value < 1)) fail(MEFT_INVALID, "%s is %g, expected at least 0 and less than 1", name, value);
}

void check_rows(const int32_t *rows, const int32_t *last_step, int64_t row_count, int64_t total_rows, int64_t step) {
    if (row_count > total_rows) {
        fail(MEFT_INVALID, "row_count is %" PRId64 ", but the matrix has %" PRId64 " rows", row_count, total_rows);
    }
    std::vector<bool> seen(static_cast<size_t>(total_rows));
    for (int64_t i = 0; i < row_count; ++i) {
        const int32_t row = rows[i];
        if (row < 0 || row >= total_rows) {
            fail(MEFT_INVALID, "rows[%" PRId64 "] is %d, expected 0 to %" PRId64, i, row, total_rows - 1);
        }
        if (seen[static_cast<size_t>(row)]) fail(MEFT_INVALID, "row %d is named twice in rows", row);
        seen[static_cast<size_t>(row)] = true;
        if (std::llabs(last_step[row]) >= step) {
            fail(MEFT_INVALID, "row %d is current to step %d, so it cannot take step %" PRId64, row,
                 std::abs(last_step[row]), step);
        }
    }
}

}  // namespace

namespace meft {

void check_adamw(const meft_adamw *params, const float *lr_history) {
    check_struct("params", params, sizeof *params);
    if (params->step < 1 || params->step > std::numeric_limits<int32_t>::max()) {
        fail(MEFT_INVALID, "step is %" PRId64 ", expected 1 to %d", params->step, std::numeric_limits<int32_t>::max());
    }
    check_fraction("beta1", params->beta1);
    check_fraction("beta2", params->beta2);
    if (!(params->eps > 0) || std::isinf(params->eps)) {
        fail(MEFT_INVALID, "eps is %g, expected a number above 0", params->eps);
    }
    if (!(params->weight_decay >= 0) || std::isinf(params->weight_decay)) {
        fail(MEFT_INVALID, "weight_decay is %g, expected 0 or more", params->weight_decay);
    }
    if (!std::isfinite(params->grad_scale)) {
        fail(MEFT_INVALID, "grad_scale is %g, expected a finite number", params->grad_scale);
    }
    check_array("lr_history", lr_history, params->step);
    const float lr = lr_history[params->step - 1];
    if (!(lr >= 0) || std::isinf(lr)) {
        fail(MEFT_INVALID, "the learning rate of step %" PRId64 " is %g, expected 0 or more", params->step, lr);
    }
}

void check_mode(const meft_adamw &params) {
    if (params.mode < MEFT_ADAM_DENSE || params.mode > MEFT_ADAM_LAZY) {
        fail(MEFT_INVALID, "mode is %d, expected MEFT_ADAM_DENSE, _LAZY_EXACT or _LAZY", params.mode);
    }
}

}  // namespace meft

extern "C" {

meft_status meft_adamw_dense(meft_ctx *ctx, float *w, float *m, float *v, const float *grad, const float *lr_history,
                             int64_t count, const meft_adamw *params) {
    return guarded(ctx, "adamw_dense", [&] {
        check_count("count", count);
        check_array("w", w, count);
        check_array("m", m, count);
        check_array("v", v, count);
        check_array("grad", grad, count);
        check_adamw(params, lr_history);
        present(ctx->kernels->adamw->dense)(*ctx, w, m, v, grad, lr_history, count, *params);
    });
}

meft_status meft_adamw_rows(meft_ctx *ctx, uint16_t *hi, int16_t *lo, float *m, float *v, int32_t *last_step,
                            const float *grad, const int32_t *rows, const float *lr_history, int64_t row_count,
                            int64_t total_rows, int64_t hidden, const meft_adamw *params) {
    return guarded(ctx, "adamw_rows", [&] {
        check_count("row_count", row_count);
        check_count("total_rows", total_rows);
        if (hidden < 1) fail(MEFT_INVALID, "hidden is %" PRId64 ", expected 1 or more", hidden);
        check_matrix("hi", hi, total_rows, hidden);
        check_matrix("lo", lo, total_rows, hidden);
        check_matrix("m", m, total_rows, hidden);
        check_matrix("v", v, total_rows, hidden);
        check_array("last_step", last_step, total_rows);
        check_matrix("grad", grad, row_count, hidden);
        check_array("rows", rows, row_count);
        check_adamw(params, lr_history);
        check_mode(*params);
        check_rows(rows, last_step, row_count, total_rows, params->step);
        present(ctx->kernels->adamw->rows)(*ctx, {hi, lo, m, v, last_step, hidden}, grad, rows, lr_history, row_count,
                                  total_rows, *params);
    });
}

meft_status meft_adamw_rows_catch_up(meft_ctx *ctx, uint16_t *hi, int16_t *lo, float *m, float *v, int32_t *last_step,
                                     const int32_t *blocks, const float *lr_history, int64_t block_count,
                                     int64_t block_rows, int64_t hidden, int32_t all_moments,
                                     const meft_adamw *params) {
    return guarded(ctx, "adamw_rows_catch_up", [&] {
        check_count("block_count", block_count);
        if (block_rows < 1) fail(MEFT_INVALID, "block_rows is %" PRId64 ", expected 1 or more", block_rows);
        if (hidden < 1) fail(MEFT_INVALID, "hidden is %" PRId64 ", expected 1 or more", hidden);
        check_array("hi", hi, block_count);
        check_array("lo", lo, block_count);
        check_array("m", m, block_count);
        check_array("v", v, block_count);
        check_array("last_step", last_step, block_count);
        check_array("blocks", blocks, block_count);
        check_adamw(params, lr_history);
        for (int64_t b = 0; b < block_count; ++b) {
            if (blocks[b] < 0) fail(MEFT_INVALID, "blocks[%" PRId64 "] is %d, expected 0 or more", b, blocks[b]);
            // Two tasks would replay a block named twice at the same time.
            if (b > 0 && blocks[b] <= blocks[b - 1]) {
                fail(MEFT_INVALID, "blocks[%" PRId64 "] is %d after %d, expected increasing blocks", b, blocks[b],
                     blocks[b - 1]);
            }
        }
        present(ctx->kernels->adamw->catch_up)(*ctx, {hi, lo, m, v, last_step, hidden}, blocks, lr_history, block_count,
                                      block_rows, all_moments != 0, *params);
    });
}

}  // extern "C"
