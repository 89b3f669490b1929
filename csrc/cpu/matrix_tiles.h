// SPDX-License-Identifier: Apache-2.0
// Matrix tiles of Intel's server processors (AMX): who may use them, and how their shapes are set.
#pragma once

#include <cstdint>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace meft {

// What `ldtilecfg` reads.
struct alignas(64) TileShapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

#if defined(__x86_64__)
// The compiler's own _tile_loadconfig says of no byte but the first eight that it is read (GCC 12): the rest may be lost.
inline void load_tile_shapes(const TileShapes &shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
#endif

// Whether the processor has tiles for bf16 and Linux lets this process use them: it wants to be asked once, since the
// state that is saved of a thread grows by 8 KiB.
inline bool may_use_tiles() {
#if defined(__x86_64__) && defined(__linux__)
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
    constexpr long kArchPrctlRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool granted = [] {
        unsigned a, b, c, d;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
        if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
        return syscall(SYS_arch_prctl, kArchPrctlRequest, kTileData) == 0;
    }();
    return granted;
#else
    return false;
#endif
}

}  // namespace meft
