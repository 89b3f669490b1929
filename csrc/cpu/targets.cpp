// SPDX-License-Identifier: Apache-2.0
#include "cpu/targets.h"

#include "cpu/matrix_tiles.h"

namespace meft {

// Each target's kernels, where it is compiled.
#define MEFT_TARGET(number, name, ...)         \
    namespace name {                           \
    extern const TargetKernels target_kernels; \
    }
#include "cpu/targets.def"
#undef MEFT_TARGET

namespace {

// __builtin_cpu_supports also checks that the operating system saves the wide registers.
#define MEFT_HAS(feature) __builtin_cpu_supports(#feature)
#define MEFT_RUNS(name) runs_##name()
#define MEFT_TARGET(number, name, lanes, panel, bf16, rows, depth, tiles, processors, flags, test) \
    bool runs_##name() { return MEFT_IF(MEFT_BUILT_##name, (test), false); }
#include "cpu/targets.def"
#undef MEFT_TARGET
#undef MEFT_RUNS
#undef MEFT_HAS

#define MEFT_TARGET(number, name, lanes, panel, bf16, ...) \
    {number, #name, bf16, MEFT_IF(MEFT_BUILT_##name, &name::target_kernels, nullptr), runs_##name},
const Target targets[] = {
#include "cpu/targets.def"
};
#undef MEFT_TARGET

}  // namespace

Targets all_targets() { return {targets, targets + sizeof targets / sizeof targets[0]}; }

const Target *target_of(int32_t number) {
    const Targets all = all_targets();
    for (const Target *target = all.end(); target-- != all.begin();) {
        if (number != MEFT_TARGET_AUTO && target->number != number) continue;
        if (target->runs()) return target;
    }
    return nullptr;
}

const char *target_name(int32_t number) {
    for (const Target &target : all_targets()) {
        if (target.number == number) return target.name;
    }
    return number == MEFT_TARGET_AUTO ? "auto" : "unknown";
}

}  // namespace meft
