// SPDX-License-Identifier: Apache-2.0
// Scores of tiles of tokens against tiles of keys.
#include "cuda/kernels/sparse_score.cuh"

#include "cuda/kernels/matrix_load.cuh"
#include "cuda/kernels/planes.cuh"
#include "cuda/kernels/product_f32.cuh"

namespace meft {
namespace cuda {

namespace {

__device__ __forceinline__ int32_t entry_of(const ScoreCall &call, int32_t i) {
    return call.entries != nullptr ? call.entries[i] : i;
}
__device__ __forceinline__ int64_t neuron_of(const ScoreCall &call, int32_t row) {
    return call.rows != nullptr ? call.rows[row] : row;
}

__global__ void __launch_bounds__(kProductThreads) score_f32_kernel(ScoreCall call) {
    const ScoreTile tile = call.tiles[blockIdx.x];
    const int64_t hidden = call.keys.hidden;
    const ProductTile sum = product_tile<false, false>(
        hidden,
        [&](int i, int64_t k) {
            if (i >= tile.entries || k >= hidden) return 0.f;
            return call.h[entry_of(call, tile.entry + i) / call.slots * hidden + k];
        },
        [&](int i, int64_t k) {
            if (i >= tile.rows || k >= hidden) return 0.f;
            const int64_t at = neuron_of(call, tile.row + i) * hidden + k;
            return join_element(call.keys.hi[at], call.keys.lo[at]);
        });
    for (int i = 0; i < 4; ++i) {
        const int entry = product_row(i);
        if (entry >= tile.entries) continue;
        float *to = call.dots + entry_of(call, tile.entry + entry) * call.width + tile.column;
        for (int j = 0; j < 4; ++j) {
            if (product_column(j) < tile.rows) to[product_column(j)] = sum.at[i][j];
        }
    }
}

constexpr int kDepth = 64;  // columns of h and of keys at a time
constexpr int kStride = kDepth + 8;
constexpr int kMmaThreads = 128;  // 4 warps, 16 entries each

__device__ __forceinline__ __nv_bfloat16 bf16_from_bits(uint16_t bits) {
    __nv_bfloat16 value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

__global__ void __launch_bounds__(kMmaThreads) score_bf16_kernel(ScoreCall call) {
    __shared__ __align__(16) __nv_bfloat16 tokens[kScoreTile * kStride];
    __shared__ __align__(16) __nv_bfloat16 keys[kScoreTile * kStride];
    const ScoreTile tile = call.tiles[blockIdx.x];
    const int64_t hidden = call.keys.hidden;
    const int warp_row = int(threadIdx.x) / 32 * 16, g = (threadIdx.x & 31) / 4, t = threadIdx.x & 3;
    float sum[kScoreTile / 8][4] = {};
    for (int64_t k0 = 0; k0 < hidden; k0 += kDepth) {
        for (int i = threadIdx.x; i < kScoreTile * kDepth; i += kMmaThreads) {
            const int row = i / kDepth, column = i % kDepth;
            const int64_t k = k0 + column;
            const bool inside = k < hidden;
            float x = 0;
            if (inside && row < tile.entries) {
                x = call.h[entry_of(call, tile.entry + row) / call.slots * hidden + k];
            }
            uint16_t bits = 0;
            if (inside && row < tile.rows) bits = call.keys.hi[neuron_of(call, tile.row + row) * hidden + k];
            tokens[row * kStride + column] = __float2bfloat16_rn(x);
            keys[row * kStride + column] = bf16_from_bits(bits);
        }
        __syncthreads();
#pragma unroll
        for (int column = 0; column < kDepth; column += 16) {
            unsigned left[4];
            a_operand<kStride>(left, tokens, warp_row, column);
#pragma unroll
            for (int n = 0; n < kScoreTile / 8; n += 2) {
                unsigned right[2][2];
                b_of_rows<kStride>(right, keys, n * 8, column);
                meft_mma(sum[n], left, right[0]);
                meft_mma(sum[n + 1], left, right[1]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int entry = warp_row + g + 8 * half;
        if (entry >= tile.entries) continue;
        float *to = call.dots + entry_of(call, tile.entry + entry) * call.width + tile.column;
#pragma unroll
        for (int n = 0; n < kScoreTile / 8; ++n) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                if (n * 8 + 2 * t + j < tile.rows) to[n * 8 + 2 * t + j] = sum[n][2 * half + j];
            }
        }
    }
}

}  // namespace

void score_tiles(cudaStream_t stream, const ScoreCall &call, int64_t tile_count, int32_t compute) {
    if (tile_count == 0) return;
    const dim3 grid{unsigned(tile_count)};
    if (compute == MEFT_BF16) {
        MEFT_LAUNCH(score_bf16_kernel, grid, kMmaThreads, 0, stream, call);
    } else {
        MEFT_LAUNCH(score_f32_kernel, grid, kProductThreads, 0, stream, call);
    }
}

}  // namespace cuda
}  // namespace meft
