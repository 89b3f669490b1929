// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention over spans: the lists of tiles, and the choice of path. Memory is linear in the
// sequence length: no more than a tile of scores exists. The backward pass runs over the tiles twice, once for owners
// of queries and once for owners of keys, so that every sum has one owner and one order.
#include "kernels/attention.h"

#include <vector>

#include "cuda/kernels/attention_fused.h"
#include "cuda/kernels/attention_paths.h"

namespace meft {
namespace cuda {

namespace {

constexpr int64_t kMostHeadDim = 256;

// By queries (column 0), but for those of no keys, or by keys (column 2) of the spans. Blocks start in order: late queries
// see the most keys, early keys are seen by the most queries, and those come first, so that little is left to do at the end.
std::vector<AttentionTile> tiles_of(const int32_t *spans, const meft_attention &a, int column) {
    const int32_t rows = a.compute == MEFT_BF16 ? kAttentionRows : kAttentionRowsF32;
    std::vector<AttentionTile> tiles;
    for (int64_t s = 0; s < a.span_count; ++s) {
        const int32_t *span = spans + 4 * s;
        const int32_t queries = span[1] - span[0], keys = span[3] - span[2];
        const int32_t count = keys > 0 ? (span[column + 1] - span[column] + rows - 1) / rows : 0;
        for (int32_t i = 0; i < count; ++i) {
            tiles.push_back({span[0], queries, span[2], keys, (column == 0 ? count - 1 - i : i) * rows});
        }
    }
    return tiles;
}

template <class E>
struct Paths;
template <>
struct Paths<float> {
    static constexpr auto forward = attention_forward_f32;
    static constexpr auto dq = attention_dq_f32;
    static constexpr auto dkv = attention_dkv_f32;
};
template <>
struct Paths<__nv_bfloat16> {
    static constexpr auto forward = attention_forward_bf16;
    static constexpr auto dq = attention_dq_bf16;
    static constexpr auto dkv = attention_dkv_bf16;
};

template <class E>
constexpr int32_t dtype_of() {
    return sizeof(E) == sizeof(float) ? MEFT_F32 : MEFT_BF16;
}

void check_head_dim(const meft_attention &a) {
    if (a.head_dim > kMostHeadDim) {
        fail(MEFT_UNSUPPORTED, "head_dim is %lld, at most %lld runs on the device", static_cast<long long>(a.head_dim),
             static_cast<long long>(kMostHeadDim));
    }
}

template <class E>
void forward_of(meft_ctx &lane, E *o, float *lse, const E *q, const E *k, const E *v, const int32_t *spans,
                const meft_attention &params) {
    const std::vector<AttentionTile> tiles = tiles_of(spans, params, 0);
    const int64_t count = int64_t(tiles.size()), q_count = params.q_rows * params.heads * params.head_dim;
    const int64_t k_count = params.k_rows * params.kv_heads * params.head_dim;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        const AttentionInputs<E> in = {on.in(q, q_count), on.in(k, k_count), on.in(v, k_count),
                                       nullptr,           nullptr,           nullptr};
        E *const out = on.inout(o, q_count);
        float *const out_lse = on.inout(lse, params.q_rows * params.heads);
        const AttentionCall call = {dtype_of<E>(), in.q,    in.k,    in.v,    out,
                                    out_lse,       nullptr, nullptr, nullptr, nullptr};
        if (attention_forward_fused(lane, on, call, spans, params)) return;
        Paths<E>::forward(on.stream, out, out_lse, in, on.in(tiles.data(), count), count,
                          attention_sizes(params, fours(in.q, in.k, in.v)));
    });
}

// delta = rowsum(do * o), a warp a row and head.
template <class E>
__global__ void delta_kernel(float *delta, const E *d_o, const E *o, int64_t rows, int32_t head_dim) {
    const int64_t row = int64_t(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    float sum = 0;
    for (int32_t i = threadIdx.x & 31; i < head_dim; i += 32) {
        sum += load_element(d_o + row * head_dim + i) * load_element(o + row * head_dim + i);
    }
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) delta[row] = sum;
}

template <class E>
void backward_of(meft_ctx &lane, const AttentionGradients<E> &gradients, const AttentionInputs<E> &inputs, const E *o,
                 const int32_t *spans, const meft_attention &params) {
    const std::vector<AttentionTile> by_query = tiles_of(spans, params, 0), by_key = tiles_of(spans, params, 2);
    const int64_t rows = params.q_rows * params.heads, q_count = rows * params.head_dim;
    const int64_t k_count = params.k_rows * params.kv_heads * params.head_dim;
    if (by_key.empty()) return;  // without a key there is nothing for queries either
    on_device(lane, [&](Operands &on) {
        float *delta = on.scratch<float>(rows);
        const AttentionInputs<E> in = {on.in(inputs.q, q_count),   on.in(inputs.k, k_count), on.in(inputs.v, k_count),
                                       on.in(inputs.d_o, q_count), on.in(inputs.lse, rows),  delta};
        const AttentionGradients<E> out = {on.inout(gradients.dq, q_count), on.inout(gradients.dk, k_count),
                                           on.inout(gradients.dv, k_count)};
        const E *const placed_o = on.in(o, q_count);
        const AttentionCall call = {dtype_of<E>(), in.q,   in.k,   in.v,  const_cast<E *>(placed_o),
                                    const_cast<float *>(in.lse), in.d_o, out.dq, out.dk, out.dv};
        if (attention_backward_fused(lane, on, call, spans, params)) return;
        const AttentionSizes sizes = attention_sizes(params, fours(in.q, in.k, in.v, in.d_o));
        if (!by_query.empty()) {
            MEFT_LAUNCH(delta_kernel<E>, dim3(blocks_for(rows, kThreads / 32)), kThreads, 0, on.stream, delta, in.d_o,
                        placed_o, rows, sizes.head_dim);
            const int64_t count = int64_t(by_query.size());
            Paths<E>::dq(on.stream, out, in, on.in(by_query.data(), count), count, sizes);
        }
        const int64_t count = int64_t(by_key.size());
        Paths<E>::dkv(on.stream, out, in, on.in(by_key.data(), count), count, sizes);
    });
}

void forward(meft_ctx &lane, void *o, float *lse, const void *q, const void *k, const void *v, const int32_t *spans,
             const meft_attention &params) {
    check_head_dim(params);
    with_activation(params.compute, [&](auto element) {
        using E = decltype(element);
        forward_of(lane, static_cast<E *>(o), lse, static_cast<const E *>(q), static_cast<const E *>(k),
                   static_cast<const E *>(v), spans, params);
    });
}

void backward(meft_ctx &lane, void *dq, void *dk, void *dv, const void *d_o, const void *q, const void *k,
              const void *v, const void *o, const float *lse, const int32_t *spans, const meft_attention &params) {
    check_head_dim(params);
    with_activation(params.compute, [&](auto element) {
        using E = decltype(element);
        const auto in = [](const void *array) { return static_cast<const E *>(array); };
        const auto out = [](void *array) { return static_cast<E *>(array); };
        backward_of<E>(lane, {out(dq), out(dk), out(dv)}, {in(q), in(k), in(v), in(d_o), lse, nullptr}, in(o), spans,
                       params);
    });
}

}  // namespace

extern const attention_kernels attention_table;
const attention_kernels attention_table = {forward, backward};

}  // namespace cuda
}  // namespace meft
