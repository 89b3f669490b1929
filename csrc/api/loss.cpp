// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>

#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

extern "C" meft_status meft_cross_entropy(meft_ctx *ctx, float *loss, float *logits, const int32_t *targets,
                                          int64_t tokens, int64_t vocabulary, float scale, float softcap) {
    return guarded(ctx, "cross_entropy", [&] {
        check_count("tokens", tokens);
        check_count("vocabulary", vocabulary);
        check_array("loss", loss, tokens);
        check_matrix("logits", logits, tokens, vocabulary);
        check_array("targets", targets, tokens);
        for (int64_t t = 0; t < tokens; ++t) {
            if (targets[t] >= vocabulary) {
                fail(MEFT_INVALID, "targets[%" PRId64 "] is %d, expected less than the vocabulary, %" PRId64, t,
                     targets[t], vocabulary);
            }
        }
        if (!(softcap >= 0)) fail(MEFT_INVALID, "softcap is %g, expected 0 or more", double(softcap));
        present(ctx->kernels->loss->cross_entropy)(*ctx, loss, logits, targets, tokens, vocabulary, scale, softcap);
    });
}
