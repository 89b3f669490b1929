// SPDX-License-Identifier: Apache-2.0
// The kernels of one target, family by family; each is defined in kernels/<family>.cpp.
#include "cpu/product.h"
#include "cpu/targets.h"

namespace meft {
namespace MEFT_TARGET_NS {

#define MEFT_DECLARE(family) extern const family##_kernels family##_table;
MEFT_FAMILIES(MEFT_DECLARE)
#undef MEFT_DECLARE

extern const TargetKernels target_kernels;
#define MEFT_MEMBER(family) &family##_table,
const TargetKernels target_kernels = {{kTarget, MEFT_FAMILIES(MEFT_MEMBER)}, add_bias};
#undef MEFT_MEMBER

}  // namespace MEFT_TARGET_NS
}  // namespace meft
