// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: sizes, which keys a query sees, tiles of rows in shared memory.
#pragma once

#include "cuda/kernels/elements.cuh"
#include "kernels/attention.h"
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
    int32_t heads, kv_heads, head_dim;
    AttentionReach reach;
    float scale, softcap;       // softcap 0: scores are scale * q.k
    float inward, inverse_cap;  // scale / softcap, 1 / softcap
    bool wide;                  // rows may be read four elements at a time

    // A tile holds products q.k, or scores where these are capped: times this they are scores.
    __device__ float factor() const { return softcap > 0 ? 1.f : scale; }
    __device__ float capped(float product) const { return softcap * tanhf(product * inward); }
    // Derivative of a score by its product, given what the tile holds.
    __device__ float slope(float held) const {
        const float t = softcap > 0 ? held * inverse_cap : 0.f;
        return scale * (1.f - t * t);
    }
    __device__ int32_t group() const { return heads / kv_heads; }
    __device__ int64_t query(int64_t row, int32_t head) const { return (row * heads + head) * head_dim; }
    __device__ int64_t key(int64_t row, int32_t kv_head) const { return (row * kv_heads + kv_head) * head_dim; }
};

inline AttentionSizes attention_sizes(const meft_attention &a, bool aligned) {
    const bool capped = a.softcap > 0;
    return {int32_t(a.heads),
            int32_t(a.kv_heads),
            int32_t(a.head_dim),
            reach_of(a),
            a.scale,
            a.softcap,
            capped ? a.scale / a.softcap : 0.f,
            capped ? 1.f / a.softcap : 0.f,
            aligned && a.head_dim % 4 == 0};
}

// Query i of a span sees keys [keys_begin(i), keys_end(i)), around the key that it sits at: the last query sits at the
// last key. Both grow with i.
__device__ __forceinline__ int32_t place_of(const AttentionTile &span, int32_t query) {
    return query + span.keys - span.queries;
}
__device__ __forceinline__ int32_t keys_end(const AttentionTile &span, int32_t query, AttentionReach reach) {
    const int32_t place = place_of(span, query);
    return reach.ahead < span.keys - 1 - place ? place + 1 + reach.ahead : span.keys;
}
__device__ __forceinline__ int32_t keys_begin(const AttentionTile &span, int32_t query, AttentionReach reach) {
    const int32_t place = place_of(span, query);
    return reach.behind < place ? place - reach.behind : 0;
}

__device__ __forceinline__ bool sees(const AttentionTile &span, int32_t query, int32_t key, AttentionReach reach) {
    return key >= keys_begin(span, query, reach) && key < keys_end(span, query, reach);
}

// Queries that see a key of [key, key + count): [first, end).
struct QueryRange {
    int32_t first, end;
};
__device__ __forceinline__ QueryRange queries_of(const AttentionTile &span, int32_t key, int32_t count,
                                                 AttentionReach reach) {
    const int64_t first = int64_t(key) - reach.ahead - place_of(span, 0);
    const int64_t end = int64_t(key) + count + reach.behind - place_of(span, 0);
    return {int32_t(max(first, int64_t(0))), int32_t(min(end, int64_t(span.queries)))};
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
