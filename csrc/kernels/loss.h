// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct loss_kernels {
    void (*cross_entropy)(meft_ctx &lane, float *loss, float *logits, const int32_t *targets, int64_t tokens,
                          int64_t vocabulary, float scale, float softcap);
};
constexpr const char *loss_names[] = {"cross_entropy"};

}  // namespace meft
