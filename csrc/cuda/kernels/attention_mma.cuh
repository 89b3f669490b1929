// SPDX-License-Identifier: Apache-2.0
// Products of the tiles of attention on tensor cores. A warp owns 16 rows; a lane has, of each 16 x 8 result, columns
// 2t and 2t+1 of rows g (elements 0, 1) and g + 8 (elements 2, 3), with g = lane/4 and t = lane%4.
#pragma once

#include "cuda/kernels/attention_tile.cuh"
#include "cuda/kernels/matrix_load.cuh"

namespace meft {
namespace cuda {

constexpr int kMmaThreads = 128;  // 4 warps, 16 rows each
constexpr unsigned kFullMask = 0xffffffffu;

// s (16, 8 kTiles) += a rows [row, row + 16) times b^T: dot products of rows, over kDim columns.
template <int kDim, int kStride, int kTiles>
__device__ __forceinline__ void multiply_rows(float (&s)[kTiles][4], const __nv_bfloat16 *a, int row,
                                              const __nv_bfloat16 *b) {
#pragma unroll
    for (int column = 0; column < kDim; column += 16) {
        unsigned left[4];
        a_operand<kStride>(left, a, row, column);
#pragma unroll
        for (int n = 0; n < kTiles; n += 2) {
            unsigned right[2][2];
            b_of_rows<kStride>(right, b, n * 8, column);
            meft_mma(s[n], left, right[0]);
            meft_mma(s[n + 1], left, right[1]);
        }
    }
}

// out (16, 8 kOut) += p (16, 8 kTiles), rounded to bf16, times columns [first, first + 8 kOut) of b.
template <int kStride, int kOut, int kTiles>
__device__ __forceinline__ void multiply_columns(float (&out)[kOut][4], const float (&p)[kTiles][4],
                                                 const __nv_bfloat16 *b, int first) {
#pragma unroll
    for (int k = 0; k < kTiles; k += 2) {
        unsigned left[4];
        as_operand(left, p[k], p[k + 1]);
#pragma unroll
        for (int n = 0; n < kOut; n += 2) {
            unsigned right[2][2];
            b_of_columns<kStride>(right, b, k * 8, first + n * 8);
            meft_mma(out[n], left, right[0]);
            meft_mma(out[n + 1], left, right[1]);
        }
    }
}

// Products q.k become scores where these are capped: see AttentionSizes::factor().
template <int kTiles>
__device__ __forceinline__ void cap_scores(float (&s)[kTiles][4], const AttentionSizes &sizes) {
    if (!(sizes.softcap > 0)) return;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) s[n][j] = sizes.capped(s[n][j]);
    }
}

// Rows of s are queries (this lane's first is `query`), columns keys from k0 on: `hidden` where one does not see it.
template <int kTiles>
__device__ __forceinline__ void mask_keys(float (&s)[kTiles][4], const AttentionTile &span, int32_t query, int32_t k0,
                                          AttentionReach reach, float hidden) {
    const int32_t t = threadIdx.x & 3;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int32_t begin = keys_begin(span, query + 8 * half, reach) - k0;
        const int32_t end = keys_end(span, query + 8 * half, reach) - k0;
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int32_t key = n * 8 + 2 * t + j;
                if (key < begin || key >= end) s[n][2 * half + j] = hidden;
            }
        }
    }
}

// Columns [first, ..) of one row of a result, as far as head_dim, rounded.
template <int kOut>
__device__ __forceinline__ void store_row(__nv_bfloat16 *to, const float (&out)[kOut][4], int half, int first,
                                          int head_dim) {
    const int t = threadIdx.x & 3;
#pragma unroll
    for (int n = 0; n < kOut; ++n) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int column = first + n * 8 + 2 * t + j;
            if (column < head_dim) store_element(to + column, out[n][2 * half + j]);
        }
    }
}

template <int kValue>
struct HeadDim {
    static constexpr int value = kValue;
};

// Calls run with the smallest of the compiled head sizes that holds head_dim.
template <class Run>
void with_head_dim(int32_t head_dim, Run &&run) {
    if (head_dim <= 32) return run(HeadDim<32>());
    if (head_dim <= 64) return run(HeadDim<64>());
    if (head_dim <= 96) return run(HeadDim<96>());
    if (head_dim <= 128) return run(HeadDim<128>());
    if (head_dim <= 192) return run(HeadDim<192>());
    run(HeadDim<256>());
}

}  // namespace cuda
}  // namespace meft
