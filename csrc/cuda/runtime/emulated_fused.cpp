// SPDX-License-Identifier: Apache-2.0
// Fused attention without a device: plain loops over the arrays that cuDNN would be given, in f64. Only where
// MEFT_ATTENTION asks for it: what is tested so is how those arrays are made and read.
#include <cmath>
#include <vector>

#include "cuda/fused_attention.h"

namespace meft {
namespace cuda {

namespace {

// One sequence of the batch: its rows among all rows, and how many.
struct Sequence {
    int64_t q_begin, k_begin, queries, keys;
};

Sequence sequence_of(const FusedShape &s, const FusedArrays &a, int64_t b) {
    if (!s.ragged) return {b * s.queries, b * s.keys, s.queries, s.keys};
    return {a.q_offsets[b] / (s.heads * s.head_dim), a.k_offsets[b] / (s.kv_heads * s.head_dim), a.q_lengths[b],
            a.k_lengths[b]};
}

double dot(const __nv_bfloat16 *a, const __nv_bfloat16 *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += double(__bfloat162float(a[i])) * double(__bfloat162float(b[i]));
    return sum;
}

void add_to(double *to, double factor, const __nv_bfloat16 *from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] += factor * double(__bfloat162float(from[i]));
}

void round_to(__nv_bfloat16 *to, const double *from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = __float2bfloat16(float(from[i]));
}

// Calls visit(offset of the query's head, index in stats, first and end of the keys it sees, offset of key 0's head).
template <class Visit>
void each_query(const FusedShape &s, const FusedArrays &a, Visit &&visit) {
    for (int64_t b = 0; b < s.batch; ++b) {
        const Sequence one = sequence_of(s, a, b);
        for (int64_t h = 0; h < s.heads; ++h) {
            for (int64_t i = 0; i < one.queries; ++i) {
                const int64_t end = s.past ? i + 1 + one.keys - one.queries : one.keys;
                const int64_t first = s.window > 0 ? std::max<int64_t>(0, end - s.window) : 0;
                visit(((one.q_begin + i) * s.heads + h) * s.head_dim, (b * s.heads + h) * s.queries + i, first, end,
                      (one.k_begin * s.kv_heads + h / (s.heads / s.kv_heads)) * s.head_dim);
            }
        }
    }
}

}  // namespace

bool can_fuse(meft_ctx &, const FusedShape &, Direction) { return attention_choice() == AttentionChoice::fused; }

void fused_forward(meft_ctx &, Operands &, const FusedShape &s, const FusedArrays &a) {
    const int64_t width = s.head_dim, key_stride = s.kv_heads * width;
    each_query(s, a, [&](int64_t q, int64_t stat, int64_t first, int64_t end, int64_t k) {
        std::vector<double> scores;
        double most = -HUGE_VAL, total = 0;
        for (int64_t j = first; j < end; ++j) {
            scores.push_back(double(s.scale) * dot(a.q + q, a.k + k + j * key_stride, width));
            most = std::max(most, scores.back());
        }
        for (const double score : scores) total += std::exp(score - most);
        a.stats[stat] = float(most + std::log(total));
        std::vector<double> o(size_t(width), 0.0);
        for (int64_t j = first; j < end; ++j) {
            add_to(o.data(), std::exp(scores[size_t(j - first)] - most) / total, a.v + k + j * key_stride, width);
        }
        round_to(a.o + q, o.data(), width);
    });
}

void fused_backward(meft_ctx &, Operands &, const FusedShape &s, const FusedArrays &a) {
    const int64_t width = s.head_dim, key_stride = s.kv_heads * width;
    int64_t k_rows = 0;
    for (int64_t b = 0; b < s.batch; ++b) k_rows += sequence_of(s, a, b).keys;
    std::vector<double> dk(size_t(k_rows * key_stride), 0.0), dv(dk.size(), 0.0);
    each_query(s, a, [&](int64_t q, int64_t stat, int64_t first, int64_t end, int64_t k) {
        const double delta = dot(a.d_o + q, a.o + q, width);
        std::vector<double> dq(size_t(width), 0.0);
        for (int64_t j = first; j < end; ++j) {
            const int64_t key = k + j * key_stride;
            const double p = std::exp(double(s.scale) * dot(a.q + q, a.k + key, width) - double(a.stats[stat]));
            const double ds = double(s.scale) * p * (dot(a.d_o + q, a.v + key, width) - delta);
            add_to(dq.data(), ds, a.k + key, width);
            add_to(dk.data() + key, ds, a.q + q, width);
            add_to(dv.data() + key, p, a.d_o + q, width);
        }
        round_to(a.dq + q, dq.data(), width);
    });
    round_to(a.dk, dk.data(), int64_t(dk.size()));
    round_to(a.dv, dv.data(), int64_t(dv.size()));
}

std::string attention_provider() {
    return attention_choice() == AttentionChoice::fused ? "emulated fused kernels" : "own kernels: no device";
}
void release_attention(DeviceLane &) noexcept {}

}  // namespace cuda
}  // namespace meft
