// SPDX-License-Identifier: Apache-2.0
// Products of the tiles of attention in f32: 256 threads as 16 x 16; thread (y, x) has rows y, y + 16, .. and columns
// x, x + 16, .. of every result.
#pragma once

#include "cuda/kernels/attention_tile.cuh"

namespace meft {
namespace cuda {

constexpr int kF32Threads = 256;
constexpr int kTile = kAttentionRowsF32;  // rows of every tile

// The dot products of rows of a and of b, one a thread: row threadIdx.x / 16 of a, row threadIdx.x % 16 of b.
template <int kDim>
__device__ __forceinline__ float dot_of_rows(const float *a, const float *b) {
    const float *x = a + threadIdx.x / 16 * (kDim + 1), *y = b + threadIdx.x % 16 * (kDim + 1);
    float sum = 0;
#pragma unroll 8
    for (int i = 0; i < kDim; ++i) sum = __fmaf_rn(x[i], y[i], sum);
    return sum;
}

// out += p (16 x 16, rows 17 apart) times the rows of b.
template <int kDim>
__device__ __forceinline__ void add_product(float (&out)[kDim / 16], const float *p, const float *b) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (int j = 0; j < kTile; ++j) {
        const float weight = p[y * 17 + j];
#pragma unroll
        for (int c = 0; c < kDim / 16; ++c) out[c] = __fmaf_rn(weight, b[j * (kDim + 1) + c * 16 + x], out[c]);
    }
}

template <int kDim>
__device__ __forceinline__ void store_tile_row(float *to, const float (&out)[kDim / 16], float factor, int head_dim) {
#pragma unroll
    for (int c = 0; c < kDim / 16; ++c) {
        const int column = c * 16 + threadIdx.x % 16;
        if (column < head_dim) to[column] = out[c] * factor;
    }
}

}  // namespace cuda
}  // namespace meft
