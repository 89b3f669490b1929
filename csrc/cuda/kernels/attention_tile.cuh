// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: sizes, which keys a query sees, tiles of rows in shared memory.
#pragma once

#include "cuda/kernels/elements.cuh"
#include "meft.h"

namespace meft {
namespace cuda {

constexpr int32_t kAttentionRows = 64;     // rows of a tile that a block owns, of products in bf16
constexpr int32_t kAttentionRowsF32 = 16;  // of products in f32

// What one block owns: queries (or keys) from `first` on, counted from its span's begin.
struct AttentionTile {
    int32_t q_begin, queries, k_begin, keys, first;
};

// Sizes of one call. q, o and lse have `heads` heads a row, k and v kv_heads.
struct AttentionSizes {
    int32_t heads, kv_heads, head_dim, window;  // window: 0 for none
    float scale;
    bool wide;  // rows may be read four elements at a time

    __device__ int32_t group() const { return heads / kv_heads; }
    __device__ int64_t query(int64_t row, int32_t head) const { return (row * heads + head) * head_dim; }
    __device__ int64_t key(int64_t row, int32_t kv_head) const { return (row * kv_heads + kv_head) * head_dim; }
};

inline AttentionSizes attention_sizes(const meft_attention &a, bool aligned) {
    const int32_t window = a.window < INT32_MAX ? int32_t(a.window) : 0;
    return {int32_t(a.heads), int32_t(a.kv_heads),           int32_t(a.head_dim), window,
            a.scale,          aligned && a.head_dim % 4 == 0};
}

// Query i of a span sees keys [keys_begin(i), keys_end(i)): the last query sits at the last key. Both grow with i.
__device__ __forceinline__ int32_t keys_end(const AttentionTile &span, int32_t query) {
    return query + 1 + span.keys - span.queries;
}
__device__ __forceinline__ int32_t keys_begin(const AttentionTile &span, int32_t query, int32_t window) {
    return window > 0 ? max(0, keys_end(span, query) - window) : 0;
}

// Queries that see a key of [key, key + count): [first, end).
struct QueryRange {
    int32_t first, end;
};
__device__ __forceinline__ QueryRange queries_of(const AttentionTile &span, int32_t key, int32_t count,
                                                 int32_t window) {
    const int32_t lead = span.keys - span.queries;
    const int64_t end = window > 0 ? int64_t(key) + count + window - 1 - lead : span.queries;
    return {max(0, key - lead), int32_t(min(end, int64_t(span.queries)))};
}

// tile[r][c] = from[r * row_stride + c] for `rows` rows and head_dim columns, zero elsewhere: what lies outside of a
// span, perhaps NaN, never enters a product. kRows x kDim elements, rows kStride apart.
template <int kRows, int kDim, int kStride, int kThreads>
__device__ __forceinline__ void load_tile(__nv_bfloat16 *tile, const __nv_bfloat16 *from, int64_t row_stride,
                                          int32_t rows, const AttentionSizes &sizes) {
    constexpr int kFours = kDim / 4;
#pragma unroll 4
    for (int i = threadIdx.x; i < kRows * kFours; i += kThreads) {
        const int row = i / kFours, column = i % kFours * 4;
        const __nv_bfloat16 *at = from + row * row_stride + column;
        __nv_bfloat16 *to = tile + row * kStride + column;
        if (sizes.wide) {
            const bool inside = row < rows && column < sizes.head_dim;
            *reinterpret_cast<uint2 *>(to) = inside ? *reinterpret_cast<const uint2 *>(at) : make_uint2(0, 0);
            continue;
        }
        for (int j = 0; j < 4; ++j) {
            to[j] = row < rows && column + j < sizes.head_dim ? at[j] : __float2bfloat16(0.f);
        }
    }
}
template <int kRows, int kDim, int kStride, int kThreads>
__device__ __forceinline__ void load_tile(float *tile, const float *from, int64_t row_stride, int32_t rows,
                                          const AttentionSizes &sizes) {
    for (int i = threadIdx.x; i < kRows * kDim; i += kThreads) {
        const int row = i / kDim, column = i % kDim;
        const bool inside = row < rows && column < sizes.head_dim;
        tile[row * kStride + column] = inside ? from[row * row_stride + column] : 0.f;
    }
}

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

}  // namespace cuda
}  // namespace meft
