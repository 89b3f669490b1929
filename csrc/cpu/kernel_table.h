// SPDX-License-Identifier: Apache-2.0
// The kernels of one target, family by family. A family declares its struct of functions in kernels/<family>.h,
// defines it in kernels/<family>.cpp (compiled once per target) and adds one line here.
// Kernels trust their arguments: csrc/api checks them.
#pragma once

#include <cstdint>

#include "cpu/kernels/activation.h"
#include "cpu/kernels/adamw.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/elementwise.h"
#include "cpu/kernels/embedding.h"
#include "cpu/kernels/linear.h"
#include "cpu/kernels/loss.h"
#include "cpu/kernels/norm.h"
#include "cpu/kernels/pairs.h"
#include "cpu/kernels/planes.h"
#include "cpu/kernels/random.h"
#include "cpu/kernels/rotary.h"
#include "cpu/kernels/sparse_backward.h"
#include "cpu/kernels/sparse_forward.h"
#include "cpu/kernels/sparse_route.h"
// MEFT_FAMILIES: name of each family.
#define MEFT_FAMILIES(X) \
    X(activation)        \
    X(adamw)             \
    X(attention)         \
    X(elementwise)       \
    X(embedding)         \
    X(linear)            \
    X(loss)              \
    X(norm)              \
    X(pairs)             \
    X(planes)            \
    X(random)            \
    X(rotary)            \
    X(sparse_backward)   \
    X(sparse_forward)    \
    X(sparse_route)

namespace meft {

struct KernelTable {
    int32_t target;
#define MEFT_FAMILY_MEMBER(family) const family##_kernels *family;
    MEFT_FAMILIES(MEFT_FAMILY_MEMBER)
#undef MEFT_FAMILY_MEMBER
};

// Every target there is, each with all that those before it have.
constexpr int32_t kTargets[] = {MEFT_TARGET_PORTABLE, MEFT_TARGET_AVX2, MEFT_TARGET_AVX512, MEFT_TARGET_AVX512_BF16,
                                MEFT_TARGET_AVX512_AMX};

// The best target that this machine runs, or the wanted one; null when the machine or the build lacks it.
const KernelTable *kernel_table(int32_t target);
const char *target_name(int32_t target);
bool target_compiled(int32_t target);

}  // namespace meft
