// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "core/mapping.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_ids(const int32_t *ids, int64_t tokens, int64_t vocabulary) {
    check_array("ids", ids, tokens);
    for (int64_t t = 0; t < tokens; ++t) {
        if (ids[t] < 0 || ids[t] >= vocabulary) {
            fail(MEFT_INVALID, "ids[%" PRId64 "] is %d, expected 0 to %" PRId64 ", the table's last row", t, ids[t],
                 vocabulary - 1);
        }
    }
}

}  // namespace

extern "C" {

meft_status meft_embedding_forward(meft_ctx *ctx, float *y, const int32_t *ids, const void *w,
                                   const meft_weight *w_desc, int64_t tokens, int32_t accumulate) {
    return guarded(ctx, "embedding_forward", [&] {
        check_count("tokens", tokens);
        const StoredWeight table = stored_weight("w", w, w_desc);
        check_matrix("y", y, tokens, table.cols);
        check_ids(ids, tokens, table.rows);
        present(ctx->kernels->embedding->forward)(*ctx, y, ids, table, tokens, accumulate != 0);
    });
}

meft_status meft_embedding_backward(meft_ctx *ctx, float *dweight, const int32_t *ids, const float *dy, int64_t tokens,
                                    int64_t vocabulary, int64_t hidden) {
    return guarded(ctx, "embedding_backward", [&] {
        check_count("tokens", tokens);
        check_count("vocabulary", vocabulary);
        check_count("hidden", hidden);
        check_matrix("dweight", dweight, vocabulary, hidden);
        check_matrix("dy", dy, tokens, hidden);
        check_ids(ids, tokens, vocabulary);
        present(ctx->kernels->embedding->backward)(*ctx, dweight, ids, dy, tokens, hidden);
    });
}

}  // extern "C"
