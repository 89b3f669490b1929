// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention over spans: the lists of tiles, and the choice of path. Memory is linear in the
// sequence length: no more than a tile of scores exists. The backward pass runs over the tiles twice, once for owners
// of queries and once for owners of keys, so that every sum has one owner and one order.
#include "cpu/kernels/attention.h"

#include <vector>

#include "cuda/kernels/attention_fused.h"
#include "cuda/kernels/attention_paths.h"

namespace meft {
namespace cuda {

namespace {

constexpr int64_t kMostHeadDim = 256;

// By queries (column 0) or by keys (column 2) of the spans. Blocks start in order: late queries see the most keys,
// early keys are seen by the most queries, and those come first, so that little is left to do at the end.
std::vector<AttentionTile> tiles_of(const int32_t *spans, const meft_attention &a, int column) {
    const int32_t rows = a.compute == MEFT_BF16 ? kAttentionRows : kAttentionRowsF32;
    std::vector<AttentionTile> tiles;
    for (int64_t s = 0; s < a.span_count; ++s) {
        const int32_t *span = spans + 4 * s;
        const int32_t queries = span[1] - span[0], keys = span[3] - span[2];
        const int32_t count = (span[column + 1] - span[column] + rows - 1) / rows;
        for (int32_t i = 0; i < count; ++i) {
            tiles.push_back({span[0], queries, span[2], keys, (column == 0 ? count - 1 - i : i) * rows});
        }
    }
    return tiles;
}

void check_head_dim(const meft_attention &a) {
    if (a.head_dim > kMostHeadDim) {
        fail(MEFT_UNSUPPORTED, "head_dim is %lld, at most %lld runs on the device", static_cast<long long>(a.head_dim),
             static_cast<long long>(kMostHeadDim));
    }
}

void forward(meft_ctx &lane, float *o, float *lse, const float *q, const float *k, const float *v, const int32_t *spans,
             const meft_attention &params) {
    check_head_dim(params);
    const std::vector<AttentionTile> tiles = tiles_of(spans, params, 0);
    const int64_t count = int64_t(tiles.size()), q_count = params.q_rows * params.heads * params.head_dim;
    const int64_t k_count = params.k_rows * params.kv_heads * params.head_dim;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        const AttentionInputs in = {on.in(q, q_count), on.in(k, k_count), on.in(v, k_count), nullptr, nullptr, nullptr};
        float *const out = on.inout(o, q_count), *const out_lse = on.inout(lse, params.q_rows * params.heads);
        const AttentionCall call = {MEFT_F32, in.q, in.k, in.v, out, out_lse, nullptr, nullptr, nullptr, nullptr};
        if (attention_forward_fused(lane, on, call, spans, params)) return;
        const auto path = params.compute == MEFT_BF16 ? attention_forward_bf16 : attention_forward_f32;
        path(on.stream, out, out_lse, in, on.in(tiles.data(), count), count,
             attention_sizes(params, fours(in.q, in.k, in.v)));
    });
}

// delta = rowsum(do * o), a warp a row and head.
__global__ void delta_kernel(float *delta, const float *d_o, const float *o, int64_t rows, int32_t head_dim) {
    const int64_t row = int64_t(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    float sum = 0;
    for (int32_t i = threadIdx.x & 31; i < head_dim; i += 32) sum += d_o[row * head_dim + i] * o[row * head_dim + i];
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) delta[row] = sum;
}

void backward(meft_ctx &lane, float *dq, float *dk, float *dv, const float *d_o, const float *q, const float *k,
              const float *v, const float *o, const float *lse, const int32_t *spans, const meft_attention &params) {
    check_head_dim(params);
    const std::vector<AttentionTile> by_query = tiles_of(spans, params, 0), by_key = tiles_of(spans, params, 2);
    const int64_t rows = params.q_rows * params.heads, q_count = rows * params.head_dim;
    const int64_t k_count = params.k_rows * params.kv_heads * params.head_dim;
    if (by_key.empty()) return;  // no more queries than keys
    on_device(lane, [&](Operands &on) {
        float *delta = on.scratch<float>(rows);
        const AttentionInputs in = {on.in(q, q_count),   on.in(k, k_count), on.in(v, k_count),
                                    on.in(d_o, q_count), on.in(lse, rows),  delta};
        const AttentionGradients out = {on.inout(dq, q_count), on.inout(dk, k_count), on.inout(dv, k_count)};
        const AttentionCall call = {
            MEFT_F32, in.q,   in.k,   in.v,  const_cast<float *>(on.in(o, q_count)), const_cast<float *>(in.lse),
            in.d_o,   out.dq, out.dk, out.dv};
        if (attention_backward_fused(lane, on, call, spans, params)) return;
        const AttentionSizes sizes = attention_sizes(params, fours(in.q, in.k, in.v, in.d_o));
        const bool bf16 = params.compute == MEFT_BF16;
        if (!by_query.empty()) {
            MEFT_LAUNCH(delta_kernel, dim3(blocks_for(rows, kThreads / 32)), kThreads, 0, on.stream, delta, in.d_o,
                        static_cast<const float *>(call.o), rows, sizes.head_dim);
            const int64_t count = int64_t(by_query.size());
            (bf16 ? attention_dq_bf16 : attention_dq_f32)(on.stream, out, in, on.in(by_query.data(), count), count,
                                                          sizes);
        }
        const int64_t count = int64_t(by_key.size());
        (bf16 ? attention_dkv_bf16 : attention_dkv_f32)(on.stream, out, in, on.in(by_key.data(), count), count, sizes);
    });
}

}  // namespace

extern const attention_kernels attention_table;
const attention_kernels attention_table = {forward, backward};

}  // namespace cuda
}  // namespace meft
