// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/guard.h"
#include "cpu/kernel_table.h"

using namespace meft;

extern "C" meft_status meft_random_normal(meft_ctx *ctx, float *out, int64_t count, uint32_t seed, uint32_t stream,
                                          float std) {
    return guarded(ctx, "random_normal", [&] {
        check_count("count", count);
        check_array("out", out, count);
        if (!(std >= 0 && std < HUGE_VALF)) fail(MEFT_INVALID, "std is %g, expected finite and 0 or more", double(std));
        ctx->kernels->random->normal(*ctx, out, count, seed, stream, std);
    });
}
