// SPDX-License-Identifier: Apache-2.0
// Attention, forward, on tensor cores: 64 queries a block, 16 a warp, against tiles of 64 keys with an online softmax
// (Milakov and Gimelshein 2018; Dao et al. 2022) in f32.
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/kernels/attention_paths.h"

namespace meft {
namespace cuda {

namespace {

constexpr int kKeys = 64;

// The largest score and the sum of a row's exponentials; a lane has rows g and g + 8 of its warp.
struct SoftmaxState {
    float top, total;
};

// Scores of one row (elements 2*half, 2*half + 1 of every tile) into its softmax; they become probabilities. Returns
// the factor for what was summed before.
template <int kTiles>
__device__ __forceinline__ float softmax_row(float (&s)[kTiles][4], int half, SoftmaxState &state, float factor) {
    float top = state.top;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 2));
    // Nothing seen yet, or only -infinity: any finite shift gives e^-infinity = 0.
    const float shift = top == -INFINITY ? 0.f : top * factor;
    float total = 0;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int j = 2 * half; j < 2 * half + 2; ++j) {
            s[n][j] = exp2f(__fmaf_rn(s[n][j], factor, -shift));
            total += s[n][j];
        }
    }
    const float keep = exp2f(__fmaf_rn(state.top, factor, -shift));  // 0 at first: top was -infinity
    state = {top, state.total * keep + total};
    return keep;
}

template <int kDim>
__global__ void __launch_bounds__(kMmaThreads)
    attention_forward_kernel(__nv_bfloat16 *o, float *lse, AttentionInputs<__nv_bfloat16> in,
                             const AttentionTile *tiles, AttentionSizes sizes) {
    constexpr int kStride = kDim + 8;
    MEFT_SHARED_DYNAMIC(__nv_bfloat16, shared);
    __nv_bfloat16 *queries = shared, *keys = queries + kAttentionRows * kStride, *values = keys + kKeys * kStride;
    const AttentionTile span = tiles[blockIdx.x];
    const int32_t head = blockIdx.y, kv_head = head / sizes.group(), warp_row = threadIdx.x / 32 * 16;
    const int32_t g = (threadIdx.x & 31) / 4, t = threadIdx.x & 3, row = span.first + warp_row + g;
    const int32_t rows = min(kAttentionRows, span.queries - span.first);
    load_tile<kAttentionRows, kDim, kStride, kMmaThreads>(queries, in.q + sizes.query(span.q_begin + span.first, head),
                                                          int64_t(sizes.heads) * sizes.head_dim, rows, sizes);
    float out[kDim / 8][4] = {};
    SoftmaxState state[2] = {{-INFINITY, 0.f}, {-INFINITY, 0.f}};
    const float factor = sizes.factor() * kLog2E;
    const int32_t end = keys_end(span, span.first + rows - 1, sizes.reach);
    for (int32_t k0 = keys_begin(span, span.first, sizes.reach) / kKeys * kKeys; k0 < end; k0 += kKeys) {
        const int64_t place = sizes.key(span.k_begin + k0, kv_head), stride = int64_t(sizes.kv_heads) * sizes.head_dim;
        __syncthreads();  // all are done with the tiles before
        load_tile<kKeys, kDim, kStride, kMmaThreads>(keys, in.k + place, stride, end - k0, sizes);
        load_tile<kKeys, kDim, kStride, kMmaThreads>(values, in.v + place, stride, end - k0, sizes);
        __syncthreads();
        float s[kKeys / 8][4] = {};
        multiply_rows<kDim, kStride>(s, queries, warp_row, keys);
        cap_scores(s, sizes);
        mask_keys(s, span, row, k0, sizes.reach, -INFINITY);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float keep = softmax_row(s, half, state[half], factor);
#pragma unroll
            for (int n = 0; n < kDim / 8; ++n) out[n][2 * half] *= keep, out[n][2 * half + 1] *= keep;
        }
        multiply_columns<kStride>(out, s, values, 0);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float total = state[half].total;
        total += __shfl_xor_sync(kFullMask, total, 1);
        total += __shfl_xor_sync(kFullMask, total, 2);
        const int32_t query = row + 8 * half;
        if (query >= span.queries) continue;
        const float inverse = 1.f / total;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) out[n][2 * half] *= inverse, out[n][2 * half + 1] *= inverse;
        store_row(o + sizes.query(span.q_begin + query, head), out, half, 0, sizes.head_dim);
        if (t == 0) {
            lse[int64_t(span.q_begin + query) * sizes.heads + head] = state[half].top * sizes.factor() + logf(total);
        }
    }
}

template <int kDim>
void forward(cudaStream_t stream, __nv_bfloat16 *o, float *lse, const AttentionInputs<__nv_bfloat16> &in,
             const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes) {
    constexpr size_t kBytes = (kAttentionRows + 2 * kKeys) * (kDim + 8) * sizeof(__nv_bfloat16);
    meft_allow_shared(attention_forward_kernel<kDim>, kBytes);
    MEFT_LAUNCH(attention_forward_kernel<kDim>, dim3(unsigned(tile_count), unsigned(sizes.heads)), dim3(kMmaThreads),
                kBytes, stream, o, lse, in, tiles, sizes);
}

}  // namespace

void attention_forward_bf16(cudaStream_t stream, __nv_bfloat16 *o, float *lse, const AttentionInputs<__nv_bfloat16> &in,
                            const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes) {
    with_head_dim(sizes.head_dim,
                  [&](auto dim) { forward<decltype(dim)::value>(stream, o, lse, in, tiles, tile_count, sizes); });
}

}  // namespace cuda
}  // namespace meft
