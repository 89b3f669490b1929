// SPDX-License-Identifier: Apache-2.0
// The register micro-kernel of every matrix product that is not in matrix tiles.
#include "cpu/gemm_tile.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

// The panel comes from L2, and a thread whose neighbour works on the same core does not look far enough ahead to hide
// that: 178 -> 223 GFLOP/s of f32 at 512 x 4096 x 4096 (Emerald Rapids, 2 threads on shared cores).
constexpr int64_t kAheadSteps = 8;

// c (kRows x columns) (+)= a * panel; the panel is kVectors vectors wide, of the last only `last` lanes are stored.
// Sums are initialised and stored in unrolled index loops: otherwise GCC 12 keeps the array in memory.
template <class Compute, int kRows, int kVectors>
void micro_kernel(float *c, int64_t ldc, const typename Compute::operand *a, int64_t lda,
                  const typename Compute::operand *panel, int64_t k, int last, bool accumulate) {
    constexpr int kGroup = Compute::kGroup;
    constexpr int64_t kWidth = int64_t(kVectors) * kLanes * kGroup;
    vf sum[kRows][kVectors];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
            if (!accumulate) {
                sum[i][j] = zero();
            } else {
                const float *at = c + i * ldc + j * kLanes;
                sum[i][j] = j + 1 < kVectors || last == kLanes ? load(at) : load_part(at, last);
            }
        }
    }
    const auto step = [&](int64_t p, auto broadcast) {
        vf column[kVectors];
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
            column[j] = load(reinterpret_cast<const float *>(panel + j * kLanes * kGroup));
        }
        panel += kWidth;
#pragma GCC unroll 4
        for (int64_t line = 0; line < kWidth * int64_t(sizeof *panel); line += 64) {
            __builtin_prefetch(reinterpret_cast<const char *>(panel + kAheadSteps * kWidth) + line);
        }
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) {
            const vf x = broadcast(a + i * lda + p);
#pragma GCC unroll 4
            for (int j = 0; j < kVectors; ++j) sum[i][j] = Compute::multiply_add(x, column[j], sum[i][j]);
        }
    };
    int64_t p = 0;
    for (; p + kGroup <= k; p += kGroup) step(p, Compute::broadcast);
    if (p < k) step(p, Compute::broadcast_half);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
            float *at = c + i * ldc + j * kLanes;
            if (j + 1 < kVectors || last == kLanes) {
                store(at, sum[i][j]);
            } else {
                store_part(at, sum[i][j], last);
            }
        }
    }
}

template <class Compute>
using MicroKernel = void (*)(float *, int64_t, const typename Compute::operand *, int64_t,
                             const typename Compute::operand *, int64_t, int, bool);

// The micro-kernels of every size, by rows and vectors.
template <class Compute>
struct MicroKernels {
    MicroKernel<Compute> of[kTileRows][kTileVectors] = {};

    constexpr MicroKernels() { fill<kTileRows, kTileVectors>(); }
    template <int kRows, int kVectors>
    constexpr void fill() {
        of[kRows - 1][kVectors - 1] = micro_kernel<Compute, kRows, kVectors>;
        if constexpr (kVectors > 1) {
            fill<kRows, kVectors - 1>();
        } else if constexpr (kRows > 1) {
            fill<kRows - 1, kTileVectors>();
        }
    }
};

template <class Compute>
MicroKernel<Compute> micro_kernel_for(int64_t rows, int64_t vectors) {
    static constexpr MicroKernels<Compute> kernels;
    return kernels.of[rows - 1][vectors - 1];
}

// Rows of the next block of A: kTileRows, but the last two blocks share what is left evenly (8 rows are 4 + 4).
int64_t block_rows(int64_t left) {
    if (left <= kTileRows) return left;
    return left < 2 * kTileRows ? (left + 1) / 2 : kTileRows;
}

}  // namespace

template <class Compute>
void multiply_first(float *c, int64_t ldc, const typename Compute::operand *a, int64_t lda,
                    const typename Compute::operand *b, int64_t m, int64_t n, int64_t k, int64_t packed_k,
                    bool accumulate) {
    if constexpr (Compute::kInTiles) {
        Compute::multiply(c, ldc, a, lda, b, m, n, k, packed_k, accumulate);
    } else {
        for (int64_t i = 0, rows; i < m; i += rows) {
            rows = block_rows(m - i);
            for (int64_t j = 0; j < n; j += kPanel) {
                const int64_t columns = n - j < kPanel ? n - j : kPanel;
                const int64_t vectors = (columns + kLanes - 1) / kLanes;
                const int last = int(columns - (vectors - 1) * kLanes);
                micro_kernel_for<Compute>(rows, vectors)(c + i * ldc + j, ldc, a + i * lda, lda,
                                                         panel_at<Compute>(b, packed_k, j), k, last, accumulate);
            }
        }
    }
}

template void multiply_first<F32>(float *, int64_t, const F32::operand *, int64_t, const F32::operand *, int64_t,
                                  int64_t, int64_t, int64_t, bool);
template void multiply_first<Bf16>(float *, int64_t, const Bf16::operand *, int64_t, const Bf16::operand *, int64_t,
                                   int64_t, int64_t, int64_t, bool);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
