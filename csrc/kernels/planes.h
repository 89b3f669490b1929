// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct planes_kernels {
    void (*split)(meft_ctx &lane, uint16_t *hi, int16_t *lo, const float *x, int64_t count);
    void (*join)(meft_ctx &lane, float *x, const uint16_t *hi, const int16_t *lo, int64_t count);
    void (*gather)(meft_ctx &lane, void *out, const uint16_t *hi, const int16_t *lo, const int32_t *rows,
                   int64_t row_count, int64_t total_rows, int64_t hidden, int32_t dtype);
    void (*add)(meft_ctx &lane, float *to, const float *from, const int32_t *places, int64_t row_count,
                int64_t total_rows, int64_t hidden, int64_t first_new);
};
constexpr const char *planes_names[] = {"split", "join", "gather", "add"};

}  // namespace meft
