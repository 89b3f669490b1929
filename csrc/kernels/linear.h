// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/context.h"
#include "core/mapping.h"

namespace meft {

// compute is MEFT_F32 or MEFT_BF16; bias.data is null for no bias. Formulas stand in meft.h.
struct linear_kernels {
    void (*forward)(meft_ctx &lane, Activation y, ConstActivation x, const StoredWeight &w, const StoredWeight &bias,
                    int64_t tokens, int32_t compute, bool accumulate);
    void (*backward_data)(meft_ctx &lane, Activation dx, ConstActivation dy, const StoredWeight &w, int64_t tokens,
                          int32_t compute, bool accumulate);
    void (*backward_weight)(meft_ctx &lane, float *dweight, ConstActivation dy, ConstActivation x, int64_t tokens,
                            int64_t rows, int64_t cols, int32_t compute);
    // dbias += sum of dy over tokens.
    void (*backward_bias)(meft_ctx &lane, float *dbias, ConstActivation dy, int64_t tokens, int64_t rows);
};
constexpr const char *linear_names[] = {"forward", "backward_data", "backward_weight", "backward_bias"};

}  // namespace meft
