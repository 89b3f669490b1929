// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_kind(int32_t kind) {
    if (kind < MEFT_ACTIVATION_IDENTITY || kind > MEFT_ACTIVATION_SIGMOID) {
        fail(MEFT_INVALID, "kind is %d, expected a MEFT_ACTIVATION_*", kind);
    }
}

}  // namespace

extern "C" {

meft_status meft_activation_forward(meft_ctx *ctx, void *y, const void *x, const void *up, int64_t count, int32_t kind,
                                    int32_t dtype) {
    return guarded(ctx, "activation_forward", [&] {
        check_count("count", count);
        check_kind(kind);
        check_dtype("y", dtype);
        check_array("y", y, count);
        check_array("x", x, count);
        present(ctx->kernels->activation->forward)(*ctx, y, x, up, count, kind, dtype);
    });
}

meft_status meft_activation_backward(meft_ctx *ctx, void *dx, void *dup, const void *dy, const void *x, const void *up,
                                     int64_t count, int32_t kind, int32_t dtype) {
    return guarded(ctx, "activation_backward", [&] {
        check_count("count", count);
        check_kind(kind);
        check_dtype("dx", dtype);
        check_array("dx", dx, count);
        check_array("dy", dy, count);
        check_array("x", x, count);
        if (count > 0 && (dup == nullptr) != (up == nullptr)) {
            fail(MEFT_INVALID, "%s is null, but not %s", dup == nullptr ? "dup" : "up", dup == nullptr ? "up" : "dup");
        }
        present(ctx->kernels->activation->backward)(*ctx, dx, dup, dy, x, up, count, kind, dtype);
    });
}

}  // extern "C"
