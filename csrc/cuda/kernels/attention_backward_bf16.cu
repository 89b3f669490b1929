// SPDX-License-Identifier: Apache-2.0
// Attention, backward, on tensor cores. Probabilities are made again from lse. With d = rowsum(do * o):
//   p = e^(s - lse),  s = scale*q k^T,  dp = do v^T,  ds = scale * p * (dp - d),  dq = ds k,  dk = ds^T q,  dv = p^T do
// Where scores are capped, s = softcap * tanh(scale*q k^T / softcap), and ds has the factor 1 - (s / softcap)^2 too.
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/kernels/attention_paths.h"

namespace meft {
namespace cuda {

namespace {

// Shared memory of four tiles stays within the 99 KB that every card of 8.6 and later has.
template <int kDim>
struct Streamed {
    static constexpr int kRows = kDim > 64 ? 32 : 64;  // keys (dq) or queries (dk, dv) that pass by at a time
    static constexpr int kStride = kDim + 8;
    static constexpr size_t kBytes = 2 * (kAttentionRows + kRows) * kStride * sizeof(__nv_bfloat16);
};

// dq: 64 queries of a head, against the keys they see.
template <int kDim>
__global__ void __launch_bounds__(kMmaThreads) attention_dq_kernel(__nv_bfloat16 *dq, AttentionInputs<__nv_bfloat16> in,
                                                                   const AttentionTile *tiles, AttentionSizes sizes) {
    constexpr int kStride = Streamed<kDim>::kStride, kKeys = Streamed<kDim>::kRows;
    MEFT_SHARED_DYNAMIC(__nv_bfloat16, shared);
    __nv_bfloat16 *queries = shared, *d_outs = queries + kAttentionRows * kStride;
    __nv_bfloat16 *keys = d_outs + kAttentionRows * kStride, *values = keys + kKeys * kStride;
    const AttentionTile span = tiles[blockIdx.x];
    const int32_t head = blockIdx.y, kv_head = head / sizes.group(), warp_row = threadIdx.x / 32 * 16;
    const int32_t row = span.first + warp_row + (threadIdx.x & 31) / 4;
    const int32_t rows = min(kAttentionRows, span.queries - span.first);
    const int64_t place = sizes.query(span.q_begin + span.first, head),
                  q_stride = int64_t(sizes.heads) * sizes.head_dim;
    load_tile<kAttentionRows, kDim, kStride, kMmaThreads>(queries, in.q + place, q_stride, rows, sizes);
    load_tile<kAttentionRows, kDim, kStride, kMmaThreads>(d_outs, in.d_o + place, q_stride, rows, sizes);
    float lse[2], delta[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int64_t at = int64_t(span.q_begin + min(row + 8 * half, span.queries - 1)) * sizes.heads + head;
        lse[half] = in.lse[at] * kLog2E;
        delta[half] = in.delta[at];
    }
    float out[kDim / 8][4] = {};
    const float factor = sizes.factor() * kLog2E;
    const int32_t end = keys_end(span, span.first + rows - 1, sizes.reach);
    for (int32_t k0 = keys_begin(span, span.first, sizes.reach) / kKeys * kKeys; k0 < end; k0 += kKeys) {
        const int64_t key = sizes.key(span.k_begin + k0, kv_head), k_stride = int64_t(sizes.kv_heads) * sizes.head_dim;
        __syncthreads();  // all are done with the tiles before
        load_tile<kKeys, kDim, kStride, kMmaThreads>(keys, in.k + key, k_stride, end - k0, sizes);
        load_tile<kKeys, kDim, kStride, kMmaThreads>(values, in.v + key, k_stride, end - k0, sizes);
        __syncthreads();
        float s[kKeys / 8][4] = {}, dp[kKeys / 8][4] = {};
        multiply_rows<kDim, kStride>(s, queries, warp_row, keys);
        multiply_rows<kDim, kStride>(dp, d_outs, warp_row, values);
        cap_scores(s, sizes);
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const float p = exp2f(__fmaf_rn(s[n][j], factor, -lse[j / 2]));
                dp[n][j] = sizes.slope(s[n][j]) * p * (dp[n][j] - delta[j / 2]);
            }
        }
        mask_keys(dp, span, row, k0, sizes.reach, 0.f);
        multiply_columns<kStride>(out, dp, keys, 0);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int32_t query = row + 8 * half;
        if (query < span.queries) store_row(dq + sizes.query(span.q_begin + query, head), out, half, 0, sizes.head_dim);
    }
}

// dk and dv: 64 keys of a kv head, against the queries that see them, heads of the group in order. Columns
// [kOut * blockIdx.z, + kOut) of the results, so that both fit into registers.
template <int kDim, int kOut>
__global__ void __launch_bounds__(kMmaThreads)
    attention_dkv_kernel(__nv_bfloat16 *dk, __nv_bfloat16 *dv, AttentionInputs<__nv_bfloat16> in,
                         const AttentionTile *tiles, AttentionSizes sizes) {
    constexpr int kStride = Streamed<kDim>::kStride, kQueries = Streamed<kDim>::kRows;
    MEFT_SHARED_DYNAMIC(__nv_bfloat16, shared);
    __nv_bfloat16 *keys = shared, *values = keys + kAttentionRows * kStride;
    __nv_bfloat16 *queries = values + kAttentionRows * kStride, *d_outs = queries + kQueries * kStride;
    const AttentionTile span = tiles[blockIdx.x];
    const int32_t kv_head = blockIdx.y, warp_row = threadIdx.x / 32 * 16, t = threadIdx.x & 3;
    const int32_t row = span.first + warp_row + (threadIdx.x & 31) / 4, column = int32_t(blockIdx.z) * kOut;
    const int32_t rows = min(kAttentionRows, span.keys - span.first);
    const int64_t place = sizes.key(span.k_begin + span.first, kv_head);
    const int64_t k_stride = int64_t(sizes.kv_heads) * sizes.head_dim, q_stride = int64_t(sizes.heads) * sizes.head_dim;
    load_tile<kAttentionRows, kDim, kStride, kMmaThreads>(keys, in.k + place, k_stride, rows, sizes);
    load_tile<kAttentionRows, kDim, kStride, kMmaThreads>(values, in.v + place, k_stride, rows, sizes);
    float dkeys[kOut / 8][4] = {}, dvalues[kOut / 8][4] = {};
    const float factor = sizes.factor() * kLog2E;
    const QueryRange range = queries_of(span, span.first, rows, sizes.reach);
    for (int32_t head = kv_head * sizes.group(); head < (kv_head + 1) * sizes.group(); ++head) {
        for (int32_t q0 = range.first; q0 < range.end; q0 += kQueries) {
            const int64_t query = sizes.query(span.q_begin + q0, head);
            __syncthreads();  // all are done with the tiles before
            load_tile<kQueries, kDim, kStride, kMmaThreads>(queries, in.q + query, q_stride, range.end - q0, sizes);
            load_tile<kQueries, kDim, kStride, kMmaThreads>(d_outs, in.d_o + query, q_stride, range.end - q0, sizes);
            __syncthreads();
            float s[kQueries / 8][4] = {}, dp[kQueries / 8][4] = {};  // rows are keys, columns queries
            multiply_rows<kDim, kStride>(s, keys, warp_row, queries);
            multiply_rows<kDim, kStride>(dp, values, warp_row, d_outs);
            cap_scores(s, sizes);
#pragma unroll
            for (int n = 0; n < kQueries / 8; ++n) {
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const int32_t i = q0 + n * 8 + 2 * t + j;
                    const bool inside = i < range.end;
                    const int64_t at = int64_t(span.q_begin + (inside ? i : q0)) * sizes.heads + head;
                    const float lse = in.lse[at] * kLog2E, delta = in.delta[at];
                    const int32_t begin = keys_begin(span, i, sizes.reach), end = keys_end(span, i, sizes.reach);
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        const int32_t key = row + 8 * half, e = 2 * half + j;
                        const bool seen = inside && key >= begin && key < end;
                        const float p = exp2f(__fmaf_rn(s[n][e], factor, -lse));
                        dp[n][e] = seen ? sizes.slope(s[n][e]) * p * (dp[n][e] - delta) : 0.f;
                        s[n][e] = seen ? p : 0.f;
                    }
                }
            }
            multiply_columns<kStride>(dvalues, s, d_outs, column);
            multiply_columns<kStride>(dkeys, dp, queries, column);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int32_t key = row + 8 * half;
        if (key >= span.keys) continue;
        const int64_t at = sizes.key(span.k_begin + key, kv_head);
        store_row(dk + at, dkeys, half, column, sizes.head_dim);
        store_row(dv + at, dvalues, half, column, sizes.head_dim);
    }
}

}  // namespace

void attention_dq_bf16(cudaStream_t stream, const AttentionGradients<__nv_bfloat16> &out,
                       const AttentionInputs<__nv_bfloat16> &in, const AttentionTile *tiles, int64_t tile_count,
                       const AttentionSizes &sizes) {
    with_head_dim(sizes.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value;
        meft_allow_shared(attention_dq_kernel<kDim>, Streamed<kDim>::kBytes);
        MEFT_LAUNCH(attention_dq_kernel<kDim>, dim3(unsigned(tile_count), unsigned(sizes.heads)), dim3(kMmaThreads),
                    Streamed<kDim>::kBytes, stream, out.dq, in, tiles, sizes);
    });
}

void attention_dkv_bf16(cudaStream_t stream, const AttentionGradients<__nv_bfloat16> &out,
                        const AttentionInputs<__nv_bfloat16> &in, const AttentionTile *tiles, int64_t tile_count,
                        const AttentionSizes &sizes) {
    with_head_dim(sizes.head_dim, [&](auto dim) {
        constexpr int kDim = decltype(dim)::value, kOut = kDim > 128 ? kDim / 2 : kDim;
        meft_allow_shared(attention_dkv_kernel<kDim, kOut>, Streamed<kDim>::kBytes);
        MEFT_LAUNCH((attention_dkv_kernel<kDim, kOut>),
                    dim3(unsigned(tile_count), unsigned(sizes.kv_heads), unsigned(kDim / kOut)), dim3(kMmaThreads),
                    Streamed<kDim>::kBytes, stream, out.dk, out.dv, in, tiles, sizes);
    });
}

}  // namespace cuda
}  // namespace meft
