// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"
#include "cpu/kernel_table.h"

using namespace meft;

extern "C" {

meft_status meft_planes_split(meft_ctx *ctx, uint16_t *hi, int16_t *lo, const float *x, int64_t count) {
    return guarded(ctx, "planes_split", [&] {
        check_count("count", count);
        check_array("hi", hi, count);
        check_array("lo", lo, count);
        check_array("x", x, count);
        ctx->kernels->planes->split(*ctx, hi, lo, x, count);
    });
}

meft_status meft_planes_join(meft_ctx *ctx, float *x, const uint16_t *hi, const int16_t *lo, int64_t count) {
    return guarded(ctx, "planes_join", [&] {
        check_count("count", count);
        check_array("x", x, count);
        check_array("hi", hi, count);
        check_array("lo", lo, count);
        ctx->kernels->planes->join(*ctx, x, hi, lo, count);
    });
}

}  // extern "C"
