// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct activation_kernels {
    void (*swiglu_forward)(meft_ctx &lane, void *y, const void *gate, const void *up, int64_t count, int32_t dtype);
    void (*swiglu_backward)(meft_ctx &lane, void *dgate, void *dup, const void *dy, const void *gate, const void *up,
                            int64_t count, int32_t dtype);
    void (*relu_forward)(meft_ctx &lane, float *y, const float *x, int64_t count);
    void (*relu_backward)(meft_ctx &lane, float *dx, const float *dy, const float *y, int64_t count);
};
constexpr const char *activation_names[] = {"swiglu_forward", "swiglu_backward", "relu_forward", "relu_backward"};

}  // namespace meft
