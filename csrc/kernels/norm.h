// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/context.h"

namespace meft {

// w: `hidden` elements of dtype; dy and x of rmsnorm_backward are of dx's. Formulas: meft.h.
struct norm_kernels {
    void (*rmsnorm_forward)(meft_ctx &lane, Activation y, float *rstd, ConstActivation x, const void *w, int32_t dtype,
                            int64_t rows, int64_t hidden, float eps);
    void (*rmsnorm_backward)(meft_ctx &lane, Activation dx, float *dweight, const void *dy, const void *x,
                             const float *rstd, const void *w, int32_t dtype, int64_t rows, int64_t hidden,
                             bool accumulate);
};
constexpr const char *norm_names[] = {"rmsnorm_forward", "rmsnorm_backward"};

}  // namespace meft
