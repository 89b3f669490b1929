// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

extern "C" meft_status meft_rope_apply(meft_ctx *ctx, void *x, const float *cos, const float *sin,
                                       const int32_t *positions, int64_t tokens, int64_t heads, int64_t head_dim,
                                       int64_t rotary_dim, int64_t table_rows, int32_t dtype, int32_t inverse) {
    return guarded(ctx, "rope_apply", [&] {
        check_count("tokens", tokens);
        check_count("heads", heads);
        check_count("head_dim", head_dim);
        check_count("table_rows", table_rows);
        if (rotary_dim < 0 || rotary_dim % 2 != 0 || rotary_dim > head_dim) {
            fail(MEFT_INVALID, "rotary_dim is %" PRId64 ", expected 0 to %" PRId64 ", head_dim, and even", rotary_dim,
                 head_dim);
        }
        check_dtype("x", dtype);
        check_tensor("x", x, {tokens, heads, head_dim});
        check_matrix("cos", cos, table_rows, rotary_dim / 2);
        check_matrix("sin", sin, table_rows, rotary_dim / 2);
        check_array("positions", positions, tokens);
        for (int64_t t = 0; t < tokens; ++t) {
            if (positions[t] < 0 || positions[t] >= table_rows) {
                fail(MEFT_INVALID,
                     "positions[%" PRId64 "] is %d, expected 0 to %" PRId64 ", the last row of the tables", t,
                     positions[t], table_rows - 1);
            }
        }
        present(ctx->kernels->rotary->rope_apply)(*ctx, {x, dtype}, cos, sin, positions, tokens, heads, head_dim,
                                                  rotary_dim, inverse != 0);
    });
}
