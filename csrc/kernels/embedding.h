// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/mapping.h"

namespace meft {

// ids are in [0, rows of the table). Formulas stand in meft.h.
struct embedding_kernels {
    void (*forward)(meft_ctx &lane, float *y, const int32_t *ids, const StoredWeight &w, int64_t tokens,
                    bool accumulate);
    void (*backward)(meft_ctx &lane, float *dweight, const int32_t *ids, const float *dy, int64_t tokens,
                     int64_t hidden);
};
constexpr const char *embedding_names[] = {"forward", "backward"};

}  // namespace meft
