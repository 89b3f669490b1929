// SPDX-License-Identifier: Apache-2.0
// The kernels of the device, family by family.
#include "cpu/kernel_table.h"

#include "cuda/absent.h"
#include "cuda/lane.h"

namespace meft {
namespace cuda {

// Families in csrc/cuda/kernels.
#define MEFT_CUDA_FAMILIES(X) \
    X(activation)             \
    X(adamw)                  \
    X(attention)              \
    X(elementwise)            \
    X(embedding)              \
    X(loss)                   \
    X(norm)                   \
    X(pairs)                  \
    X(planes)                 \
    X(random)                 \
    X(rotary)                 \
    X(sparse_backward)        \
    X(sparse_forward)         \
    X(sparse_route)

#define MEFT_DECLARE(family) extern const family##_kernels family##_table;
MEFT_CUDA_FAMILIES(MEFT_DECLARE)
#undef MEFT_DECLARE

namespace {

const linear_kernels linear_table = {MEFT_ABSENT(linear, forward), MEFT_ABSENT(linear, backward_data),
                                     MEFT_ABSENT(linear, backward_weight), MEFT_ABSENT(linear, add_bias),
                                     MEFT_ABSENT(linear, backward_bias)};

#define MEFT_MEMBER(family) &family##_table,
const KernelTable table = {kTarget, MEFT_FAMILIES(MEFT_MEMBER)};
#undef MEFT_MEMBER

}  // namespace

}  // namespace cuda

const KernelTable *kernel_table(int32_t target) { return target == cuda::kTarget ? &cuda::table : nullptr; }

}  // namespace meft
