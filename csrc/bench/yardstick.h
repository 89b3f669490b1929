// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most, measured now: multiply-adds and memory reads of all threads together.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/matrix_tiles.h"

namespace yardstick {

// Seconds on the clock; for one thread, seconds that it really ran, so that a busy machine does not count.
inline double now(int threads) {
    timespec time;
    clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

inline double least(const std::vector<double> &values) { return *std::min_element(values.begin(), values.end()); }
inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
}
inline double most(const std::vector<double> &values) { return *std::max_element(values.begin(), values.end()); }

// Seconds of body(thread) run on `threads` threads at once.
inline double together(int threads, const std::function<void(int)> &body) {
    std::vector<std::thread> others;
    const double start = now(threads);
    for (int thread = 1; thread < threads; ++thread) others.emplace_back(body, thread);
    body(0);
    for (std::thread &other : others) other.join();
    return now(threads) - start;
}

#if defined(__x86_64__)

// Numbers between 1 and 2, of either sign.
struct alignas(64) TileOperands {
    uint16_t tiles[4][16 * 32];
    TileOperands() {
        uint32_t state = 1;
        for (uint16_t(&tile)[16 * 32] : tiles) {
            for (uint16_t &number : tile) {
                state = state * 1664525u + 1013904223u;
                number = uint16_t(0x3f80u | (state >> 16 & 0x807fu));
            }
        }
    }
};

// Tile products of 16 x 16 x 32, four chains, each with tiles of its own to load, as matrix products do, each as soon
// as the old one has been read. Of numbers with all their bits: a processor that multiplies zeros clocks higher
// (Emerald Rapids: 2800 instead of 2340 GFLOP/s).
__attribute__((target("amx-tile,amx-bf16"))) inline void run_tiles(int64_t rounds) {
    static const TileOperands operands;
    meft::TileShapes shapes = {};
    shapes.palette = 1;
    for (int tile = 0; tile < 8; ++tile) shapes.rows[tile] = 16, shapes.row_bytes[tile] = 64;
    meft::load_tile_shapes(shapes);
    for (int64_t i = 0; i < rounds; ++i) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(6, operands.tiles[2], 64);
        _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(5, operands.tiles[1], 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(4, operands.tiles[0], 64);
        _tile_loadd(7, operands.tiles[3], 64);
    }
    _tile_release();
}

// Twelve independent chains hide the latency of an instruction; written in assembly so that no compiler flag decides.
#define MEFT_CHAINS(instruction, r)                                                                                   \
    instruction " %%" r "14,%%" r "15,%%" r "0\n" instruction " %%" r "14,%%" r "15,%%" r "1\n" instruction " %%" r   \
                "14,%%" r "15,%%" r "2\n" instruction " %%" r "14,%%" r "15,%%" r "3\n" instruction " %%" r "14,%%" r \
                "15,%%" r "4\n" instruction " %%" r "14,%%" r "15,%%" r "5\n" instruction " %%" r "14,%%" r "15,%%" r \
                "6\n" instruction " %%" r "14,%%" r "15,%%" r "7\n" instruction " %%" r "14,%%" r "15,%%" r           \
                "8\n" instruction " %%" r "14,%%" r "15,%%" r "9\n" instruction " %%" r "14,%%" r "15,%%" r           \
                "10\n" instruction " %%" r "14,%%" r "15,%%" r "11\n"
#define MEFT_RUN_CHAINS(instruction, r, rounds)                                                                      \
    asm volatile("vzeroall\n1:\n" MEFT_CHAINS(instruction, r) "dec %0\njnz 1b\nvzeroupper\n"                         \
                 : "+r"(rounds)                                                                                      \
                 :                                                                                                   \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                   "xmm12", "xmm13", "xmm14", "xmm15", "cc")

enum class Kind { f32, bf16 };

inline void run_chains(Kind kind, bool wide, int64_t rounds) {
    if (kind == Kind::bf16 && meft::may_use_tiles()) {
        run_tiles(rounds);
    } else if (kind == Kind::bf16) {
        MEFT_RUN_CHAINS("vdpbf16ps", "zmm", rounds);
    } else if (wide) {
        MEFT_RUN_CHAINS("vfmadd231ps", "zmm", rounds);
    } else {
        MEFT_RUN_CHAINS("vfmadd231ps", "ymm", rounds);
    }
}
#undef MEFT_RUN_CHAINS
#undef MEFT_CHAINS

// GFLOP/s of all threads: vfmadd231ps, or for bf16 tiles or vdpbf16ps where the machine has them (else the f32 figure).
inline double peak_gflops(Kind kind, int threads) {
    const bool wide = __builtin_cpu_supports("avx512f");
    if (!__builtin_cpu_supports("fma")) return 0;
    if (kind == Kind::bf16 && !__builtin_cpu_supports("avx512bf16")) kind = Kind::f32;
    const bool tiles = kind == Kind::bf16 && meft::may_use_tiles();
    const int64_t rounds = tiles ? 1000000 : 4000000;
    const double flops = tiles ? 4. * 2 * 16 * 16 * 32 : 12. * 2 * (kind == Kind::bf16 ? 32 : wide ? 16 : 8);
    // Threads that start and end apart still have a rate each: from when all are there.
    std::atomic<int> missing(threads);
    std::vector<double> rates(size_t(threads), 0.);
    together(threads, [&](int thread) {
        missing.fetch_sub(1);
        while (missing.load() > 0) std::this_thread::yield();
        const double start = now(threads);
        run_chains(kind, wide, rounds);
        rates[size_t(thread)] = 1e-9 * flops * double(rounds) / (now(threads) - start);
    });
    return std::accumulate(rates.begin(), rates.end(), 0.);
}

#endif

// GB/s of all threads reading an array far larger than the caches.
inline double read_gigabytes(const std::vector<uint64_t> &array, int threads) {
    std::vector<uint64_t> sums(size_t(threads) * 8);
    const size_t part = array.size() / size_t(threads);
    const double seconds = together(threads, [&](int thread) {
        const uint64_t *from = array.data() + part * size_t(thread);
        uint64_t sum[8] = {};
        for (size_t i = 0; i + 8 <= part; i += 8) {
            for (int j = 0; j < 8; ++j) sum[j] ^= from[i + size_t(j)];
        }
        for (int j = 0; j < 8; ++j) sums[size_t(thread) * 8 + size_t(j)] = sum[j];
    });
    volatile uint64_t sink = sums[0];
    (void)sink;
    return 1e-9 * double(array.size()) * 8 / seconds;
}

}  // namespace yardstick
