// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/context.h"

namespace meft {

struct rotary_kernels {
    // cos, sin (rows, rotary_dim/2); positions[t] is in range. In place on x (tokens, heads, head_dim).
    void (*rope_apply)(meft_ctx &lane, Activation x, const float *cos, const float *sin, const int32_t *positions,
                       int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim, bool inverse);
};
constexpr const char *rotary_names[] = {"rope_apply"};

}  // namespace meft
