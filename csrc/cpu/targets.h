// SPDX-License-Identifier: Apache-2.0
// All targets of cpu/targets.def: which were compiled, which this machine runs, and their kernels.
#pragma once

#include <cstdint>

#include "core/mapping.h"
#include "kernels/kernel_table.h"

// MEFT_IF(1, a, b) is a, MEFT_IF(0, a, b) is b, also where the other one would not compile. CMake defines
// MEFT_BUILT_<name> as 1 or 0 for every target.
#define MEFT_IF_1(a, b) a
#define MEFT_IF_0(a, b) b
#define MEFT_JOINED(a, b) a##b
#define MEFT_JOIN(a, b) MEFT_JOINED(a, b)
#define MEFT_IF(condition, a, b) MEFT_JOIN(MEFT_IF_, condition)(a, b)

namespace meft {

// What a target's kernels/target_kernels.cpp fills.
struct TargetKernels {
    KernelTable table;
    // y += bias, for products that another provider computes (cpu/onednn_linear.cpp).
    void (*add_bias)(meft_ctx &lane, float *y, const StoredWeight &bias, int64_t tokens);
};

struct Target {
    int32_t number;
    const char *name;
    bool multiplies_bf16;
    const TargetKernels *kernels;  // null where this build lacks it
    bool (*runs)();                // whether the build has it and this machine runs it
};

// In the order of the list.
struct Targets {
    const Target *first, *last;
    const Target *begin() const { return first; }
    const Target *end() const { return last; }
};
Targets all_targets();

// The best that this machine runs, or the wanted one; null when the machine or the build lacks it.
const Target *target_of(int32_t number);
// Of a number in the list, or "auto"; else "unknown".
const char *target_name(int32_t number);

}  // namespace meft
