// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// w: `hidden` elements of dtype. Formulas: meft.h.
struct norm_kernels {
    void (*rmsnorm_forward)(meft_ctx &lane, float *y, float *rstd, const float *x, const void *w, int32_t dtype,
                            int64_t rows, int64_t hidden, float eps);
    void (*rmsnorm_backward)(meft_ctx &lane, float *dx, float *dweight, const float *dy, const float *x,
                             const float *rstd, const void *w, int32_t dtype, int64_t rows, int64_t hidden,
                             bool accumulate);
};

}  // namespace meft
