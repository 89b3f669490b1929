// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>
#include <cmath>

#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

extern "C" meft_status meft_random_normal(meft_ctx *ctx, float *out, int64_t count, uint32_t seed, uint32_t stream,
                                          float std) {
    return guarded(ctx, "random_normal", [&] {
        check_count("count", count);
        check_array("out", out, count);
        if (!(std >= 0 && std < HUGE_VALF)) fail(MEFT_INVALID, "std is %g, expected finite and 0 or more", double(std));
        present(ctx->kernels->random->normal)(*ctx, out, count, seed, stream, std);
    });
}

extern "C" meft_status meft_dropout_apply(meft_ctx *ctx, void *y, const void *x, int64_t count,
                                          const meft_dropout *params) {
    return guarded(ctx, "dropout_apply", [&] {
        check_struct("params", params, sizeof *params);
        check_count("count", count);
        check_array("y", y, count);
        check_array("x", x, count);
        const meft_dropout &mask = *params;
        check_dtype("y", mask.y_dtype);
        check_dtype("x", mask.x_dtype);
        if (mask.first < 0 || mask.first > INT64_MAX - count) {
            fail(MEFT_INVALID, "first is %" PRId64 ", expected from 0 to 2^63 less the count", mask.first);
        }
        if (!(mask.probability >= 0 && mask.probability < 1)) {
            fail(MEFT_INVALID, "probability is %g, expected from 0 to below 1", mask.probability);
        }
        present(ctx->kernels->random->dropout)(*ctx, y, x, count, mask);
    });
}
