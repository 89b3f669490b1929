// SPDX-License-Identifier: Apache-2.0
// The two ways to compute a tile: on tensor cores from bf16, or in f32.
#pragma once

#include "cuda/kernels/attention_tile.cuh"

namespace meft {
namespace cuda {

// All arrays on the device, of the type that products are in.
template <class E>
struct AttentionGradients {
    E *dq, *dk, *dv;
};
template <class E>
struct AttentionInputs {
    const E *q, *k, *v, *d_o;
    const float *lse, *delta;  // forward: only q, k and v; delta (q_rows,H) = rowsum(do * o)
};

// forward and dq: tiles by queries; dkv: by keys. Rows outside of the tiles are left alone.

void attention_forward_bf16(cudaStream_t stream, __nv_bfloat16 *o, float *lse, const AttentionInputs<__nv_bfloat16> &in,
                            const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes);
void attention_dq_bf16(cudaStream_t stream, const AttentionGradients<__nv_bfloat16> &out,
                       const AttentionInputs<__nv_bfloat16> &in, const AttentionTile *tiles, int64_t tile_count,
                       const AttentionSizes &sizes);
void attention_dkv_bf16(cudaStream_t stream, const AttentionGradients<__nv_bfloat16> &out,
                        const AttentionInputs<__nv_bfloat16> &in, const AttentionTile *tiles, int64_t tile_count,
                        const AttentionSizes &sizes);

void attention_forward_f32(cudaStream_t stream, float *o, float *lse, const AttentionInputs<float> &in,
                           const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes);
void attention_dq_f32(cudaStream_t stream, const AttentionGradients<float> &out, const AttentionInputs<float> &in,
                      const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes);
void attention_dkv_f32(cudaStream_t stream, const AttentionGradients<float> &out, const AttentionInputs<float> &in,
                       const AttentionTile *tiles, int64_t tile_count, const AttentionSizes &sizes);

}  // namespace cuda
}  // namespace meft
