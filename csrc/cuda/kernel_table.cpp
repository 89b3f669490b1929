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
    X(elementwise)

#define MEFT_DECLARE(family) extern const family##_kernels family##_table;
MEFT_CUDA_FAMILIES(MEFT_DECLARE)
#undef MEFT_DECLARE

namespace {

const linear_kernels linear_table = {MEFT_ABSENT(linear, forward), MEFT_ABSENT(linear, backward_data),
                                     MEFT_ABSENT(linear, backward_weight), MEFT_ABSENT(linear, add_bias),
                                     MEFT_ABSENT(linear, backward_bias)};
const attention_kernels attention_table = {MEFT_ABSENT(attention, forward), MEFT_ABSENT(attention, backward)};
const embedding_kernels embedding_table = {MEFT_ABSENT(embedding, forward), MEFT_ABSENT(embedding, backward)};
const loss_kernels loss_table = {MEFT_ABSENT(loss, cross_entropy)};
const norm_kernels norm_table = {MEFT_ABSENT(norm, rmsnorm_forward), MEFT_ABSENT(norm, rmsnorm_backward)};
const random_kernels random_table = {MEFT_ABSENT(random, normal), MEFT_ABSENT(random, dropout)};
const rotary_kernels rotary_table = {MEFT_ABSENT(rotary, rope_apply)};
const adamw_kernels adamw_table = {MEFT_ABSENT(adamw, dense), MEFT_ABSENT(adamw, rows), MEFT_ABSENT(adamw, catch_up)};
const planes_kernels planes_table = {MEFT_ABSENT(planes, split), MEFT_ABSENT(planes, join)};
const sparse_forward_kernels sparse_forward_table = {MEFT_ABSENT(sparse_forward, forward)};
const sparse_backward_kernels sparse_backward_table = {MEFT_ABSENT(sparse_backward, backward)};
const sparse_route_kernels sparse_route_table = {MEFT_ABSENT(sparse_route, route)};

#define MEFT_MEMBER(family) &family##_table,
const KernelTable table = {kTarget, MEFT_FAMILIES(MEFT_MEMBER)};
#undef MEFT_MEMBER

}  // namespace

}  // namespace cuda

const KernelTable *kernel_table(int32_t target) { return target == cuda::kTarget ? &cuda::table : nullptr; }

}  // namespace meft
