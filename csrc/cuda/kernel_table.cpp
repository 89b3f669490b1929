// SPDX-License-Identifier: Apache-2.0
// The kernels of the device, family by family.
#include "kernels/kernel_table.h"

#include "cuda/lane.h"

namespace meft {
namespace cuda {

// In csrc/cuda/kernels/<family>.cu.
#define MEFT_DECLARE(family) extern const family##_kernels family##_table;
MEFT_FAMILIES(MEFT_DECLARE)
#undef MEFT_DECLARE

const KernelTable &kernel_table() {
#define MEFT_MEMBER(family) &family##_table,
    static const KernelTable table = {kTarget, MEFT_FAMILIES(MEFT_MEMBER)};
#undef MEFT_MEMBER
    return table;
}

}  // namespace cuda
}  // namespace meft
