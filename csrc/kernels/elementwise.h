// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct elementwise_kernels {
    void (*add)(meft_ctx &lane, void *y, const void *x, int64_t count, int32_t dtype);
    void (*scaled_add)(meft_ctx &lane, float *y, const float *x, int64_t count, float factor);
    void (*scale)(meft_ctx &lane, float *x, int64_t count, float factor);
    void (*softcap)(meft_ctx &lane, float *x, int64_t count, float cap);
    double (*sum_squares)(meft_ctx &lane, const float *x, int64_t count);
};
constexpr const char *elementwise_names[] = {"add", "scaled_add", "scale", "softcap", "sum_squares"};

}  // namespace meft
