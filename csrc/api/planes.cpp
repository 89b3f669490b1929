// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

// Rows of a matrix, by number.
void check_rows(const char *name, const int32_t *rows, int64_t row_count, int64_t total_rows, int64_t hidden) {
    check_count("row_count", row_count);
    check_count("total_rows", total_rows);
    check_count("hidden", hidden);
    check_array(name, rows, row_count);
    for (int64_t i = 0; i < row_count; ++i) {
        if (rows[i] >= 0 && rows[i] < total_rows) continue;
        fail(MEFT_INVALID, "%s[%lld] is %d, expected 0 to %lld", name, static_cast<long long>(i), rows[i],
             static_cast<long long>(total_rows - 1));
    }
}

}  // namespace

extern "C" {

meft_status meft_planes_split(meft_ctx *ctx, uint16_t *hi, int16_t *lo, const float *x, int64_t count) {
    return guarded(ctx, "planes_split", [&] {
        check_count("count", count);
        check_array("hi", hi, count);
        check_array("lo", lo, count);
        check_array("x", x, count);
        present(ctx->kernels->planes->split)(*ctx, hi, lo, x, count);
    });
}

meft_status meft_planes_join(meft_ctx *ctx, float *x, const uint16_t *hi, const int16_t *lo, int64_t count) {
    return guarded(ctx, "planes_join", [&] {
        check_count("count", count);
        check_array("x", x, count);
        check_array("hi", hi, count);
        check_array("lo", lo, count);
        present(ctx->kernels->planes->join)(*ctx, x, hi, lo, count);
    });
}

meft_status meft_rows_gather(meft_ctx *ctx, void *out, const uint16_t *hi, const int16_t *lo, const int32_t *rows,
                             int64_t row_count, int64_t total_rows, int64_t hidden, int32_t dtype) {
    return guarded(ctx, "rows_gather", [&] {
        check_rows("rows", rows, row_count, total_rows, hidden);
        if (dtype != MEFT_F32 && dtype != MEFT_BF16) {
            fail(MEFT_INVALID, "dtype is %d, expected MEFT_F32 or MEFT_BF16", dtype);
        }
        check_matrix("out", out, row_count, hidden);
        check_matrix("hi", hi, total_rows, hidden);
        if (dtype == MEFT_F32) check_matrix("lo", lo, total_rows, hidden);
        present(ctx->kernels->planes->gather)(*ctx, out, hi, lo, rows, row_count, total_rows, hidden, dtype);
    });
}

meft_status meft_rows_add(meft_ctx *ctx, float *to, const float *from, const int32_t *places, int64_t row_count,
                          int64_t total_rows, int64_t hidden, int64_t first_new) {
    return guarded(ctx, "rows_add", [&] {
        check_rows("places", places, row_count, total_rows, hidden);
        check_matrix("to", to, total_rows, hidden);
        check_matrix("from", from, row_count, hidden);
        present(ctx->kernels->planes->add)(*ctx, to, from, places, row_count, total_rows, hidden, first_new);
    });
}

}  // extern "C"
