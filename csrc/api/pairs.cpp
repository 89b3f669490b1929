// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>
#include <limits>

#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

// Offsets and columns, which kernels trust. Returns the count of pairs.
int64_t check_columns(const int32_t *offsets, const int32_t *columns, int64_t tokens, int64_t width) {
    check_count("tokens", tokens);
    check_count("width", width);
    if (tokens > std::numeric_limits<int32_t>::max()) fail(MEFT_INVALID, "tokens is %" PRId64 ", too many", tokens);
    check_array("offsets", offsets, tokens + 1);
    if (offsets[0] != 0) fail(MEFT_INVALID, "offsets[0] is %d, expected 0", offsets[0]);
    for (int64_t t = 0; t < tokens; ++t) {
        if (offsets[t + 1] >= offsets[t]) continue;
        fail(MEFT_INVALID, "offsets[%" PRId64 "] is %d after %d, expected increasing offsets", t + 1, offsets[t + 1],
             offsets[t]);
    }
    const int64_t count = offsets[tokens];
    check_array("columns", columns, count);
    for (int64_t p = 0; p < count; ++p) {
        if (columns[p] < width) continue;
        fail(MEFT_INVALID, "columns[%" PRId64 "] is %d, expected less than the width, %" PRId64, p, columns[p], width);
    }
    return count;
}

}  // namespace

extern "C" {

meft_status meft_pairs_scatter(meft_ctx *ctx, float *out, const float *values, const int32_t *offsets,
                               const int32_t *columns, int64_t tokens, int64_t width) {
    return guarded(ctx, "pairs_scatter", [&] {
        const int64_t count = check_columns(offsets, columns, tokens, width);
        check_matrix("out", out, tokens, width);
        check_array("values", values, count);
        present(ctx->kernels->pairs->scatter)(*ctx, out, values, offsets, columns, tokens, width);
    });
}

meft_status meft_pairs_gather(meft_ctx *ctx, float *out, const float *dense, const int32_t *offsets,
                              const int32_t *columns, int64_t tokens, int64_t width) {
    return guarded(ctx, "pairs_gather", [&] {
        const int64_t count = check_columns(offsets, columns, tokens, width);
        check_array("out", out, count);
        check_matrix("dense", dense, tokens, width);
        present(ctx->kernels->pairs->gather)(*ctx, out, dense, offsets, columns, tokens, width);
    });
}

}  // extern "C"
