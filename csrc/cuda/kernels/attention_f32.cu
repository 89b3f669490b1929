// SPDX-License-Identifier: Apache-2.0
// Attention in f32, for models that compute in f32 and as the yardstick of the tensor-core path: tiles of 16 x 16.
#include "cuda/kernels/attention_f32.cuh"
#include "cuda/kernels/attention_paths.h"

namespace meft {
namespace cuda {

namespace {

constexpr unsigned kAll = 0xffffffffu;

// A sum, a maximum over the 16 threads of a row.
__device__ __forceinline__ float row_sum(float v) {
    for (int by = 8; by; by >>= 1) v += __shfl_xor_sync(kAll, v, by, 16);
    return v;
}
__device__ __forceinline__ float row_max(float v) {
    for (int by = 8; by; by >>= 1) v = fmaxf(v, __shfl_xor_sync(kAll, v, by, 16));
    return v;
}

// What a tile holds of this thread's row of a and row of b: their product, or its score where that is capped.
template <int kDim>
__device__ __forceinline__ float score_of(const float *a, const float *b, const AttentionSizes &sizes) {
    const float product = dot_of_rows<kDim>(a, b);
    return sizes.softcap > 0 ? sizes.capped(product) : product;
}

template <int kDim>
__device__ __forceinline__ void load_rows(float *tile, const float *from, int64_t stride, int32_t rows,
                                          const AttentionSizes &sizes) {
    load_tile<kTile, kDim, kDim + 1, kF32Threads>(tile, from, stride, rows, sizes);
}

template <int kDim>
__global__ void __launch_bounds__(kF32Threads)
    attention_forward_f32_kernel(float *o, float *lse, AttentionInputs<float> in, const AttentionTile *tiles,
                                 AttentionSizes sizes) {
    MEFT_SHARED_DYNAMIC(float, shared);
    float *queries = shared, *keys = queries + kTile * (kDim + 1), *values = keys + kTile * (kDim + 1);
    float *p = values + kTile * (kDim + 1);
    const AttentionTile span = tiles[blockIdx.x];
    const int32_t head = blockIdx.y, kv_head = head / sizes.group(), x = threadIdx.x % 16, y = threadIdx.x / 16;
    const int32_t query = span.first + y, rows = min(kTile, span.queries - span.first);
    const int64_t k_stride = int64_t(sizes.kv_heads) * sizes.head_dim;
    load_rows<kDim>(queries, in.q + sizes.query(span.q_begin + span.first, head), int64_t(sizes.heads) * sizes.head_dim,
                    rows, sizes);
    float out[kDim / 16] = {}, top = -INFINITY, total = 0;
    const float factor = sizes.factor();
    const int32_t end = keys_end(span, span.first + rows - 1, sizes.reach);
    for (int32_t k0 = keys_begin(span, span.first, sizes.reach); k0 < end; k0 += kTile) {
        const int64_t place = sizes.key(span.k_begin + k0, kv_head);
        __syncthreads();  // all are done with the tiles before
        load_rows<kDim>(keys, in.k + place, k_stride, end - k0, sizes);
        load_rows<kDim>(values, in.v + place, k_stride, end - k0, sizes);
        __syncthreads();
        const bool seen = sees(span, query, k0 + x, sizes.reach);
        const float s = seen ? score_of<kDim>(queries, keys, sizes) : -INFINITY;
        const float higher = fmaxf(top, row_max(s) * factor);
        // Nothing seen yet, or only -infinity: any finite shift gives e^-infinity = 0.
        const float shift = higher == -INFINITY ? 0.f : higher, probability = expf(__fmaf_rn(s, factor, -shift));
        const float keep = expf(top - shift);  // 0 at first: top was -infinity
        top = higher;
        total = total * keep + row_sum(probability);
#pragma unroll
        for (int c = 0; c < kDim / 16; ++c) out[c] *= keep;
        p[y * 17 + x] = probability;
        __syncwarp();  // a row of p is written and read by one half of a warp
        add_product<kDim>(out, p, values);
    }
    if (query >= span.queries) return;
    store_tile_row<kDim>(o + sizes.query(span.q_begin + query, head), out, 1.f / total, sizes.head_dim);
    if (x == 0) lse[int64_t(span.q_begin + query) * sizes.heads + head] = top + logf(total);
}

template <int kDim>
__global__ void __launch_bounds__(kF32Threads)
    attention_dq_f32_kernel(float *dq, AttentionInputs<float> in, const AttentionTile *tiles, AttentionSizes sizes) {
    MEFT_SHARED_DYNAMIC(float, shared);
    float *queries = shared, *d_outs = queries + kTile * (kDim + 1), *keys = d_outs + kTile * (kDim + 1);
    float *values = keys + kTile * (kDim + 1), *ds = values + kTile * (kDim + 1);
    const AttentionTile span = tiles[blockIdx.x];
    const int32_t head = blockIdx.y, kv_head = head / sizes.group(), x = threadIdx.x % 16, y = threadIdx.x / 16;
    const int32_t query = span.first + y, rows = min(kTile, span.queries - span.first);
    const int64_t k_stride = int64_t(sizes.kv_heads) * sizes.head_dim, q_stride = int64_t(sizes.heads) * sizes.head_dim;
    const int64_t at = sizes.query(span.q_begin + span.first, head);
    load_rows<kDim>(queries, in.q + at, q_stride, rows, sizes);
    load_rows<kDim>(d_outs, in.d_o + at, q_stride, rows, sizes);
    const int64_t state = int64_t(span.q_begin + min(query, span.queries - 1)) * sizes.heads + head;
    const float lse = in.lse[state], delta = in.delta[state];
    float out[kDim / 16] = {};
    const int32_t end = keys_end(span, span.first + rows - 1, sizes.reach);
    for (int32_t k0 = keys_begin(span, span.first, sizes.reach); k0 < end; k0 += kTile) {
        const int64_t place = sizes.key(span.k_begin + k0, kv_head);
        __syncthreads();  // all are done with the tiles before
        load_rows<kDim>(keys, in.k + place, k_stride, end - k0, sizes);
        load_rows<kDim>(values, in.v + place, k_stride, end - k0, sizes);
        __syncthreads();
        const bool seen = sees(span, query, k0 + x, sizes.reach);
        const float s = score_of<kDim>(queries, keys, sizes);
        const float probability = expf(__fmaf_rn(s, sizes.factor(), -lse));
        const float slope = sizes.slope(s) * probability * (dot_of_rows<kDim>(d_outs, values) - delta);
        ds[y * 17 + x] = seen ? slope : 0.f;
        __syncwarp();
        add_product<kDim>(out, ds, keys);
    }
    if (query >= span.queries) return;
    store_tile_row<kDim>(dq + sizes.query(span.q_begin + query, head), out, 1.f, sizes.head_dim);
}

template <int kDim>
__global__ void __launch_bounds__(kF32Threads)
    attention_dkv_f32_kernel(float *dk, float *dv, AttentionInputs<float> in, const AttentionTile *tiles,
                             AttentionSizes sizes) {
    MEFT_SHARED_DYNAMIC(float, shared);
    float *keys = shared, *values = keys + kTile * (kDim + 1), *queries = values + kTile * (kDim + 1);
    float *d_outs = queries + kTile * (kDim + 1), *p = d_outs + kTile * (kDim + 1), *ds = p + kTile * 17;
    const AttentionTile span = tiles[blockIdx.x];
    const int32_t kv_head = blockIdx.y, x = threadIdx.x % 16, y = threadIdx.x / 16, key = span.first + y;
    const int32_t rows = min(kTile, span.keys - span.first);
    const int64_t k_stride = int64_t(sizes.kv_heads) * sizes.head_dim, q_stride = int64_t(sizes.heads) * sizes.head_dim;
    const int64_t at = sizes.key(span.k_begin + span.first, kv_head);
    load_rows<kDim>(keys, in.k + at, k_stride, rows, sizes);
    load_rows<kDim>(values, in.v + at, k_stride, rows, sizes);
    float dkeys[kDim / 16] = {}, dvalues[kDim / 16] = {};
    const QueryRange range = queries_of(span, span.first, rows, sizes.reach);
    for (int32_t head = kv_head * sizes.group(); head < (kv_head + 1) * sizes.group(); ++head) {
        for (int32_t q0 = range.first; q0 < range.end; q0 += kTile) {
            const int64_t place = sizes.query(span.q_begin + q0, head);
            __syncthreads();  // all are done with the tiles before
            load_rows<kDim>(queries, in.q + place, q_stride, range.end - q0, sizes);
            load_rows<kDim>(d_outs, in.d_o + place, q_stride, range.end - q0, sizes);
            __syncthreads();
            const int32_t query = q0 + x;
            const bool seen = query < range.end && sees(span, query, key, sizes.reach);
            const int64_t state = int64_t(span.q_begin + min(query, range.end - 1)) * sizes.heads + head;
            const float s = score_of<kDim>(keys, queries, sizes);
            const float probability = expf(__fmaf_rn(s, sizes.factor(), -in.lse[state]));
            const float slope = sizes.slope(s) * probability * (dot_of_rows<kDim>(values, d_outs) - in.delta[state]);
            p[y * 17 + x] = seen ? probability : 0.f;
            ds[y * 17 + x] = seen ? slope : 0.f;
            __syncwarp();
            add_product<kDim>(dvalues, p, d_outs);
            add_product<kDim>(dkeys, ds, queries);
        }
    }
    if (key >= span.keys) return;
    const int64_t place = sizes.key(span.k_begin + key, kv_head);
    store_tile_row<kDim>(dk + place, dkeys, 1.f, sizes.head_dim);
    store_tile_row<kDim>(dv + place, dvalues, 1.f, sizes.head_dim);
}

// Bytes of so many tiles of rows and of scores.
template <int kDim>
constexpr size_t shared_bytes(int tiles, int scores) {
    return size_t(tiles * kTile * (kDim + 1) + scores * kTile * 17) * sizeof(float);
}

template <int kValue>
struct HeadDim {
    static constexpr int value = kValue;
};
template <class Run>
void with_head_dim(int32_t head_dim, Run &&run) {
    if (head_dim <= 64) return run(HeadDim<64>());
    if (head_dim <= 128) return run(HeadDim<128>());
    run(HeadDim<256>());
}

}  // namespace

void attention_forward_f32(cudaStream_t stream, float *o, float *lse, const AttentionInputs<float> &in,
                           const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes) {
    with_head_dim(sizes.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value;
        constexpr size_t kBytes = shared_bytes<kDim>(3, 1);
        meft_allow_shared(attention_forward_f32_kernel<kDim>, kBytes);
        MEFT_LAUNCH(attention_forward_f32_kernel<kDim>, dim3(unsigned(tile_count), unsigned(sizes.heads)),
                    dim3(kF32Threads), kBytes, stream, o, lse, in, tiles, sizes);
    });
}

void attention_dq_f32(cudaStream_t stream, const AttentionGradients<float> &out, const AttentionInputs<float> &in,
                      const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes) {
    with_head_dim(sizes.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value;
        constexpr size_t kBytes = shared_bytes<kDim>(4, 1);
        meft_allow_shared(attention_dq_f32_kernel<kDim>, kBytes);
        MEFT_LAUNCH(attention_dq_f32_kernel<kDim>, dim3(unsigned(tile_count), unsigned(sizes.heads)), dim3(kF32Threads),
                    kBytes, stream, out.dq, in, tiles, sizes);
    });
}

void attention_dkv_f32(cudaStream_t stream, const AttentionGradients<float> &out, const AttentionInputs<float> &in,
                       const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes) {
    with_head_dim(sizes.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value;
        constexpr size_t kBytes = shared_bytes<kDim>(4, 2);
        meft_allow_shared(attention_dkv_f32_kernel<kDim>, kBytes);
        MEFT_LAUNCH(attention_dkv_f32_kernel<kDim>, dim3(unsigned(tile_count), unsigned(sizes.kv_heads)),
                    dim3(kF32Threads), kBytes, stream, out.dk, out.dv, in, tiles, sizes);
    });
}

}  // namespace cuda
}  // namespace meft
