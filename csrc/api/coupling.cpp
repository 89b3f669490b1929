// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_fraction(int32_t fraction) {
    if (fraction < 0 || fraction > 30) fail(MEFT_INVALID, "fraction is %d, expected 0 to 30", fraction);
}

// A stream of `count` elements and what is coupled with it.
void check_coupling(const void *dropped, const float *f, int64_t count, CouplingScale scale) {
    check_fraction(scale.fraction);
    if (scale.shift < 0 || scale.shift > 15) fail(MEFT_INVALID, "shift is %d, expected 0 to 15", scale.shift);
    check_array("f", f, count);
    check_array("dropped", dropped, scale.shift == 0 ? 0 : count);
}

}  // namespace

extern "C" {

meft_status meft_coupling_to_fixed(meft_ctx *ctx, int32_t *s, float *account, const float *x, int64_t count,
                                   int32_t fraction) {
    return guarded(ctx, "coupling_to_fixed", [&] {
        check_count("count", count);
        check_fraction(fraction);
        check_array("s", s, count);
        check_array("account", account, 2);
        check_array("x", x, count);
        present(ctx->kernels->coupling->to_fixed)(*ctx, s, account, x, count, fraction);
    });
}

meft_status meft_coupling_from_fixed(meft_ctx *ctx, float *x, const int32_t *s, int64_t count, int32_t fraction) {
    return guarded(ctx, "coupling_from_fixed", [&] {
        check_count("count", count);
        check_fraction(fraction);
        check_array("x", x, count);
        check_array("s", s, count);
        present(ctx->kernels->coupling->from_fixed)(*ctx, x, s, count, fraction);
    });
}

meft_status meft_coupling_forward(meft_ctx *ctx, int32_t *y, int32_t *dropped, float *view, float *account,
                                  const int32_t *x, const float *f, int64_t count, int32_t fraction, int32_t shift) {
    return guarded(ctx, "coupling_forward", [&] {
        check_count("count", count);
        check_coupling(dropped, f, count, {fraction, shift});
        check_array("y", y, count);
        check_array("account", account, 2);
        check_array("x", x, count);
        present(ctx->kernels->coupling->forward)(*ctx, y, dropped, view, account, x, f, count, {fraction, shift});
    });
}

meft_status meft_coupling_inverse(meft_ctx *ctx, int32_t *x, const int32_t *y, const int32_t *dropped, const float *f,
                                  int64_t count, int32_t fraction, int32_t shift) {
    return guarded(ctx, "coupling_inverse", [&] {
        check_count("count", count);
        check_coupling(dropped, f, count, {fraction, shift});
        check_array("x", x, count);
        check_array("y", y, count);
        present(ctx->kernels->coupling->inverse)(*ctx, x, y, dropped, f, count, {fraction, shift});
    });
}

}  // extern "C"
