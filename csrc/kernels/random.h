// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct random_kernels {
    void (*normal)(meft_ctx &lane, float *out, int64_t count, uint32_t seed, uint32_t stream, float deviation);
    void (*dropout)(meft_ctx &lane, void *y, const void *x, int64_t count, const meft_dropout &mask);
};
constexpr const char *random_names[] = {"normal", "dropout"};

}  // namespace meft
