// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct planes_kernels {
    void (*split)(meft_ctx &lane, uint16_t *hi, int16_t *lo, const float *x, int64_t count);
    void (*join)(meft_ctx &lane, float *x, const uint16_t *hi, const int16_t *lo, int64_t count);
};

}  // namespace meft
