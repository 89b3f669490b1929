// SPDX-License-Identifier: Apache-2.0
// Arrays of activations of either dtype, in memory of the host or of a device. Kernels trust them.
#pragma once

#include <cstdint>

#include "meft.h"

namespace meft {

struct Activation {
    void *data;
    int32_t dtype;  // MEFT_F32 or MEFT_BF16
};

struct ConstActivation {
    const void *data;
    int32_t dtype;
};

inline int64_t activation_bytes(int32_t dtype) { return dtype == MEFT_BF16 ? 2 : 4; }

}  // namespace meft
