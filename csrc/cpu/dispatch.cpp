// SPDX-License-Identifier: Apache-2.0
// Which targets were compiled, which this machine runs, and their tables.
#include <cstddef>

#include "cpu/kernel_table.h"
#include "cpu/matrix_tiles.h"

namespace meft {

// Each family's table in each compiled target's namespace.
#define MEFT_DECLARE(family) extern const family##_kernels family##_table;
#define MEFT_DECLARE_TARGET(ns) \
    namespace ns {              \
    MEFT_FAMILIES(MEFT_DECLARE) \
    }
MEFT_DECLARE_TARGET(portable)
#if MEFT_X86
MEFT_DECLARE_TARGET(avx2)
MEFT_DECLARE_TARGET(avx512)
MEFT_DECLARE_TARGET(avx512_bf16)
#endif
#if MEFT_AMX
MEFT_DECLARE_TARGET(avx512_amx)
#endif

namespace {

#define MEFT_PORTABLE_MEMBER(family) &portable::family##_table,
#define MEFT_AVX2_MEMBER(family) &avx2::family##_table,
#define MEFT_AVX512_MEMBER(family) &avx512::family##_table,
#define MEFT_AVX512_BF16_MEMBER(family) &avx512_bf16::family##_table,
#define MEFT_AVX512_AMX_MEMBER(family) &avx512_amx::family##_table,

const KernelTable tables[] = {
    {MEFT_TARGET_PORTABLE, MEFT_FAMILIES(MEFT_PORTABLE_MEMBER)},
#if MEFT_X86
    {MEFT_TARGET_AVX2, MEFT_FAMILIES(MEFT_AVX2_MEMBER)},
    {MEFT_TARGET_AVX512, MEFT_FAMILIES(MEFT_AVX512_MEMBER)},
    {MEFT_TARGET_AVX512_BF16, MEFT_FAMILIES(MEFT_AVX512_BF16_MEMBER)},
#endif
#if MEFT_AMX
    {MEFT_TARGET_AVX512_AMX, MEFT_FAMILIES(MEFT_AVX512_AMX_MEMBER)},
#endif
};

// __builtin_cpu_supports also checks that the operating system saves the wide registers.
bool machine_runs(int32_t target) {
    if (target == MEFT_TARGET_PORTABLE) return true;
#if MEFT_X86
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (target == MEFT_TARGET_AVX2) return avx2;
    if (target == MEFT_TARGET_AVX512) return avx512;
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    if (target == MEFT_TARGET_AVX512_BF16) return bf16;
    if (target == MEFT_TARGET_AVX512_AMX) return bf16 && may_use_tiles();
#endif
    return false;
}

}  // namespace

const KernelTable *kernel_table(int32_t target) {
    const size_t count = sizeof tables / sizeof tables[0];
    for (size_t i = count; i-- > 0;) {
        if (target != MEFT_TARGET_AUTO && tables[i].target != target) continue;
        if (machine_runs(tables[i].target)) return &tables[i];
    }
    return nullptr;
}

bool target_compiled(int32_t target) {
    for (const KernelTable &table : tables) {
        if (table.target == target) return true;
    }
    return false;
}

const char *target_name(int32_t target) {
    switch (target) {
        case MEFT_TARGET_AUTO: return "auto";
        case MEFT_TARGET_PORTABLE: return "portable";
        case MEFT_TARGET_AVX2: return "avx2";
        case MEFT_TARGET_AVX512: return "avx512";
        case MEFT_TARGET_AVX512_BF16: return "avx512_bf16";
        case MEFT_TARGET_AVX512_AMX: return "avx512_amx";
        default: return "unknown";
    }
}

}  // namespace meft
