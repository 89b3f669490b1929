// SPDX-License-Identifier: Apache-2.0
// The contract between csrc/api, which checks every argument, and a backend, which computes and trusts its arguments: a
// table of kernels, family by family. A family declares its struct of functions in kernels/<family>.h and adds one line
// here; a backend fills it (csrc/cpu/kernels/<family>.cpp once per target, csrc/cuda/kernels/<family>.cu). The names of
// its kernels are <family>_names, in the order of the struct.
//
// A kernel that a backend lacks is null: its call fails with MEFT_UNSUPPORTED, and meft_build_info names it.
#pragma once

#include <cstdint>
#include <string>

#include "core/guard.h"
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/coupling.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/experts.h"
#include "kernels/linear.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/pairs.h"
#include "kernels/planes.h"
#include "kernels/random.h"
#include "kernels/rotary.h"
#include "kernels/sparse_backward.h"
#include "kernels/sparse_forward.h"
#include "kernels/sparse_route.h"

// MEFT_FAMILIES: name of each family.
#define MEFT_FAMILIES(X) \
    X(activation)        \
    X(adamw)             \
    X(attention)         \
    X(coupling)          \
    X(elementwise)       \
    X(embedding)         \
    X(experts)           \
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

// A kernel of a lane's table, to be called.
template <class Kernel>
Kernel present(Kernel kernel) {
    if (kernel == nullptr) fail(MEFT_UNSUPPORTED, "the backend of this lane does not have this kernel");
    return kernel;
}

// A JSON array of the kernels that a table lacks: "family.kernel".
std::string absent_kernels(const KernelTable &table);

}  // namespace meft
