// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// kind: MEFT_ACTIVATION_*. up and dup are both there, or both null. Formulas stand in meft.h.
struct activation_kernels {
    void (*forward)(meft_ctx &lane, void *y, const void *x, const void *up, int64_t count, int32_t kind, int32_t dtype);
    void (*backward)(meft_ctx &lane, void *dx, void *dup, const void *dy, const void *x, const void *up, int64_t count,
                     int32_t kind, int32_t dtype);
};
constexpr const char *activation_names[] = {"forward", "backward"};

}  // namespace meft
