// SPDX-License-Identifier: Apache-2.0
// Products in f32 by plain multiply-adds, for the router and for scores in f32: tiles of 64 x 64, 4 x 4 a thread. Every
// element is one chain of multiply-adds in increasing k, so its bits do not depend on its neighbours.
#pragma once

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

constexpr int kProductTile = 64;   // rows and columns of a block's result
constexpr int kProductDepth = 16;  // k at a time
constexpr int kProductThreads = 256;

struct ProductTile {
    float at[4][4];
};
// The row or column of the tile that index i of a thread's 4 stands for: rows y, y + 16, ..; columns x, x + 16, ...
__device__ __forceinline__ int product_row(int i) { return int(threadIdx.x) / 16 + 16 * i; }
__device__ __forceinline__ int product_column(int i) { return int(threadIdx.x) % 16 + 16 * i; }

// tile[k][row] = of(row, k) for 64 rows and kProductDepth k. Neighbouring threads take neighbouring k, or rows.
template <bool kRowsAdjacent, class Of>
__device__ __forceinline__ void fill_panel(float (&tile)[kProductDepth][kProductTile + 1], int64_t k0, const Of &of) {
#pragma unroll
    for (int i = threadIdx.x; i < kProductDepth * kProductTile; i += kProductThreads) {
        const int row = kRowsAdjacent ? i % kProductTile : i / kProductDepth;
        const int k = kRowsAdjacent ? i / kProductTile : i % kProductDepth;
        tile[k][row] = of(row, k0 + k);
    }
}

// sum over k < depth of a(row, k) * b(column, k). a and b return 0 outside of their matrices. All threads call it.
template <bool kARowsAdjacent, bool kBRowsAdjacent, class A, class B>
__device__ __forceinline__ ProductTile product_tile(int64_t depth, const A &a, const B &b) {
    __shared__ float left[kProductDepth][kProductTile + 1], right[kProductDepth][kProductTile + 1];
    ProductTile sum = {};
    for (int64_t k0 = 0; k0 < depth; k0 += kProductDepth) {
        fill_panel<kARowsAdjacent>(left, k0, a);
        fill_panel<kBRowsAdjacent>(right, k0, b);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kProductDepth; ++k) {
            float x[4], y[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) x[i] = left[k][product_row(i)], y[i] = right[k][product_column(i)];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) sum.at[i][j] = __fmaf_rn(x[i], y[j], sum.at[i][j]);
            }
        }
        __syncthreads();
    }
    return sum;
}

// A matrix as stored, or transposed: element (row, k) lies at row * row_stride + k * k_stride, one of which is 1.
struct ProductOperand {
    const float *data;
    int64_t row_stride, k_stride;
};

// c (rows, columns) (+)= sum over k of a(row, k) b(column, k).
template <bool kARowsAdjacent, bool kBRowsAdjacent>
__global__ void __launch_bounds__(kProductThreads)
    product_kernel(float *c, ProductOperand a, ProductOperand b, int64_t rows, int64_t columns, int64_t depth,
                   bool accumulate) {
    const int64_t row0 = int64_t(blockIdx.x) * kProductTile, column0 = int64_t(blockIdx.y) * kProductTile;
    const ProductTile sum = product_tile<kARowsAdjacent, kBRowsAdjacent>(
        depth,
        [&](int row, int64_t k) {
            const bool inside = row0 + row < rows && k < depth;
            return inside ? a.data[(row0 + row) * a.row_stride + k * a.k_stride] : 0.f;
        },
        [&](int column, int64_t k) {
            const bool inside = column0 + column < columns && k < depth;
            return inside ? b.data[(column0 + column) * b.row_stride + k * b.k_stride] : 0.f;
        });
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) {
            const int64_t row = row0 + product_row(i), column = column0 + product_column(j);
            if (row >= rows || column >= columns) continue;
            float *at = c + row * columns + column;
            *at = accumulate ? *at + sum.at[i][j] : sum.at[i][j];
        }
    }
}

inline void product_f32(cudaStream_t stream, float *c, const ProductOperand &a, const ProductOperand &b, int64_t rows,
                        int64_t columns, int64_t depth, bool accumulate) {
    const bool left = a.row_stride == 1 && a.k_stride != 1, right = b.row_stride == 1 && b.k_stride != 1;
    const auto kernel = left ? (right ? product_kernel<true, true> : product_kernel<true, false>)
                             : (right ? product_kernel<false, true> : product_kernel<false, false>);
    const dim3 grid(unsigned((rows + kProductTile - 1) / kProductTile),
                    unsigned((columns + kProductTile - 1) / kProductTile));
    MEFT_LAUNCH(kernel, grid, kProductThreads, 0, stream, c, a, b, rows, columns, depth, accumulate);
}

}  // namespace cuda
}  // namespace meft
