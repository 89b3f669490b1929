// SPDX-License-Identifier: Apache-2.0
// Causal attention, backward. Probabilities are made again from lse, a tile at a time. Per tile, with d = rowsum(do *
// o):
//   p = e^(scale*q k^T - lse),  dp = do v^T,  ds = scale * p * (dp - d)
//   dv += p^T do,  dk += ds^T q,  dq += ds k
// A work item owns one (span, kv head): the query heads of its group belong to it alone, so every sum has one owner and
// one order. Where that gives few items, a span's key tiles are dealt out to `segments` items; each segment sums its
// own dq, and these are added in order. The number of segments follows from the sizes alone.
#include "core/pool.h"
#include "cpu/attention_span.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kRowTile = 2 * kRowBlock;  // queries of a tile

struct Backward {
    Layout at;
    float *dq, *dk, *dv;
    const float *d_o, *q, *k, *v, *o, *lse;
};

// What one thread needs: packed operands, and room for a left matrix where rows of floats are no operands.
template <class Compute>
struct Scratch {
    typedef typename Compute::operand operand;
    operand *keys_t, *values_t, *keys, *rows, *transposed, *left;
    float *p, *ds;

    static int64_t left_stride(const Layout &at) { return larger(round_up(at.head_dim, kLanes), kKeyTile); }
    Scratch(Workspace::Frame &frame, const Layout &at) {
        const int64_t wide = round_up(at.head_dim, kLanes), tile = kRowTile * kKeyTile;
        for (operand **packed : {&keys_t, &values_t, &keys}) *packed = frame.take<operand>(kKeyTile * wide);
        rows = frame.take<operand>(kRowTile * wide);
        transposed = frame.take<operand>(tile);
        left = converts<Compute>() ? frame.take<operand>(kRowTile * left_stride(at)) : nullptr;
        p = frame.take<float>(tile);
        ds = frame.take<float>(tile);
    }
};

float dot(const float *x, const float *y, int64_t count) {
    vf total = zero();
    each_vector(0, count, [&](int64_t i, auto lanes) { total = fma(load(x + i, lanes), load(y + i, lanes), total); });
    return sum(total);
}

// One row of a tile, in place: scores to p, dp to ds. Keys outside of [first, end) get zeros up to `width`, whatever
// stands there.
void differentiate_row(float *p, float *ds, int64_t first, int64_t end, int64_t width, float scale, float lse,
                       float delta) {
    const vf shift = set1(-lse), d = set1(delta), factor = set1(scale);
    for (int64_t j = 0; j < width; j += kLanes) {
        const int from = int(first - j), to = int(end - j);
        const vf probability = exp(fma(load(p + j), factor, shift));
        const vf slope = mul(mul(factor, probability), sub(load(ds + j), d));
        store(p + j, keep_range(probability, from, to, zero()));
        store(ds + j, keep_range(slope, from, to, zero()));
    }
}

// out (n keys) += tile^T rows, for a tile of m rows. `rows` are those of q or of do.
template <class Compute>
void add_transposed_product(float *out, int64_t ldo, const float *tile, const float *rows, int64_t ldr, int64_t m,
                            int64_t n, int64_t head_dim, const Scratch<Compute> &s) {
    copy_columns<Compute>(s.transposed, kRowTile, matrix(tile, kKeyTile), nullptr, n, m);
    pack_normal<Compute>(s.rows, matrix(rows, ldr), nullptr, m, head_dim);
    multiply<Compute>(out, ldo, s.transposed, kRowTile, s.rows, n, head_dim, m, true);
}

// Queries [row, row + m) of one head against keys [k0, k0 + n), which are packed.
template <class Compute>
void backward_tile(const Backward &b, const Span &span, int64_t head, int64_t row, int64_t m, int64_t k0, int64_t n,
                   const Scratch<Compute> &s) {
    const Layout &at = b.at;
    const int64_t seen = smaller(n, span.keys_end(row + m - 1) - k0);
    const int64_t lse_at = (span.q_begin + row) * at.heads + head, place = lse_at * at.head_dim;
    const int64_t key_at = at.key(span.k_begin + k0, head / at.group);
    const int64_t columns = smaller(n, round_up(seen, kPanel));  // whole panels: their width stands for all n keys
    const auto left = [&](const float *x, int64_t ldx, int64_t width) {
        return operands_of<Compute>(x, ldx, m, width, s.left, s.left_stride(at));
    };
    const Operands<Compute> q = left(b.q + place, at.q_stride, at.head_dim);
    multiply<Compute>(s.p, kKeyTile, q.data, q.stride, s.keys_t, m, columns, at.head_dim, false);
    const Operands<Compute> d_o = left(b.d_o + place, at.q_stride, at.head_dim);
    multiply<Compute>(s.ds, kKeyTile, d_o.data, d_o.stride, s.values_t, m, columns, at.head_dim, false);
    for (int64_t i = 0; i < m; ++i) {
        const int64_t here = place + i * at.q_stride;
        const int64_t to = smaller(seen, larger(0, span.keys_end(row + i) - k0));
        const int64_t from = smaller(to, larger(0, span.keys_begin(row + i) - k0));
        differentiate_row(s.p + i * kKeyTile, s.ds + i * kKeyTile, from, to, round_up(seen, kLanes), at.scale,
                          b.lse[lse_at + i * at.heads], dot(b.d_o + here, b.o + here, at.head_dim));
    }
    const Operands<Compute> ds = left(s.ds, kKeyTile, seen);
    multiply_first<Compute>(b.dq + place, at.q_stride, ds, s.keys, m, at.head_dim, seen, n, true);
    add_transposed_product(b.dv + key_at, at.k_stride, s.p, b.d_o + place, at.q_stride, m, seen, at.head_dim, s);
    add_transposed_product(b.dk + key_at, at.k_stride, s.ds, b.q + place, at.q_stride, m, seen, at.head_dim, s);
}

// Keys [k0, k0 + n) of a kv head against all queries that see one of them, heads in order, queries in order.
template <class Compute>
void backward_keys(const Backward &b, const Span &span, int64_t kv_head, int64_t k0, int64_t n,
                   const Scratch<Compute> &s) {
    const Layout &at = b.at;
    const int64_t place = at.key(span.k_begin + k0, kv_head);
    for (int64_t j = 0; j < n; ++j) {
        std::memset(b.dk + place + j * at.k_stride, 0, size_t(at.head_dim) * 4);
        std::memset(b.dv + place + j * at.k_stride, 0, size_t(at.head_dim) * 4);
    }
    // Query i sees a key of the tile when keys_end(i) > k0 and keys_begin(i) < k0 + n.
    const int64_t lead = span.keys - span.queries, begin = larger(0, k0 - lead);
    const int64_t end = span.window > 0 ? smaller(span.queries, k0 + n + span.window - 1 - lead) : span.queries;
    if (begin >= end) return;
    pack_transposed<Compute>(s.keys_t, matrix(b.k + place, at.k_stride), nullptr, n, at.head_dim);
    pack_transposed<Compute>(s.values_t, matrix(b.v + place, at.k_stride), nullptr, n, at.head_dim);
    pack_normal<Compute>(s.keys, matrix(b.k + place, at.k_stride), nullptr, n, at.head_dim);
    for (int64_t head = kv_head * at.group; head < (kv_head + 1) * at.group; ++head) {
        for (int64_t row = begin; row < end; row += kRowTile) {
            backward_tile(b, span, head, row, smaller(kRowTile, end - row), k0, n, s);
        }
    }
}

// Key tiles segment, segment + segments, ... of a (span, kv head): every segment gets long and short columns.
template <class Compute>
void backward_segment(const Backward &b, const Span &span, int64_t kv_head, int64_t segment, int64_t segments,
                      const Scratch<Compute> &s) {
    const int64_t width = b.at.group * b.at.head_dim;
    for (int64_t i = 0; i < span.queries; ++i) {
        std::memset(b.dq + (span.q_begin + i) * b.at.q_stride + kv_head * width, 0, size_t(width) * 4);
    }
    for (int64_t k0 = segment * kKeyTile; k0 < span.keys; k0 += segments * kKeyTile) {
        backward_keys(b, span, kv_head, k0, smaller(kKeyTile, span.keys - k0), s);
    }
}

// Items for some 32 threads, at most 4 copies of dq, and at least 4 key tiles a segment.
int64_t segment_count(int64_t items, int64_t longest) {
    const int64_t wanted = smaller(4, 32 / larger(1, items));
    return larger(1, smaller(wanted, longest / (4 * kKeyTile)));
}

// dq += the other segments' sums, in order, for the rows of the spans.
void add_segments(meft_ctx &lane, float *dq, const float *partial, int64_t partial_count, int64_t partials,
                  const int32_t *spans, const meft_attention &params) {
    const int64_t width = params.heads * params.head_dim;
    for (int64_t s = 0; s < params.span_count; ++s) {
        const Span span = span_at(spans, s, params.window);
        const int64_t first = span.q_begin * width;
        parallel_chunks(lane, span.queries * width, 1 << 14, [=](int64_t begin, int64_t end, int32_t) {
            for (int64_t p = 0; p < partials; ++p) {
                const float *from = partial + p * partial_count;
                each_vector(first + begin, first + end, [&](int64_t i, auto lanes) {
                    store(dq + i, add(load(dq + i, lanes), load(from + i, lanes)), lanes);
                });
            }
        });
    }
}

template <class Compute>
void run_backward(meft_ctx &lane, const Backward &whole, const int32_t *spans, const meft_attention &params) {
    const Layout &at = whole.at;
    double work = 0;
    int64_t longest = 0;
    for (int64_t s = 0; s < params.span_count; ++s) {
        const Span span = span_at(spans, s, params.window);
        longest = larger(longest, span.keys);
        work += 2.5 * double(span.queries) * double(span.keys) * double(at.heads * at.head_dim);
    }
    const int64_t segments = segment_count(params.span_count * at.kv_heads, longest);
    const int64_t items = params.span_count * at.kv_heads * segments;
    const int64_t per_task = 1 + int64_t(double(items) * kWorkPerTask / (work + 1));
    const int64_t dq_count = params.q_rows * at.q_stride;
    Workspace::Frame frame(lane.workspace);
    float *partial = frame.take<float>(dq_count * (segments - 1));
    Scratch<Compute> *scratch = frame.take<Scratch<Compute>>(lane.threads);
    for (int32_t thread = 0; thread < lane.threads; ++thread) scratch[thread] = Scratch<Compute>(frame, at);
    parallel_chunks(lane, items, per_task, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t segment = item % segments, pair = item / segments;
            const Span span = span_at(spans, pair / at.kv_heads, params.window);
            Backward b = whole;
            if (segment > 0) b.dq = partial + (segment - 1) * dq_count;
            backward_segment<Compute>(b, span, pair % at.kv_heads, segment, segments, scratch[thread]);
        }
    });
    if (segments > 1) add_segments(lane, whole.dq, partial, dq_count, segments - 1, spans, params);
}

}  // namespace

void attention_backward(meft_ctx &lane, float *dq, float *dk, float *dv, const float *d_o, const float *q,
                        const float *k, const float *v, const float *o, const float *lse, const int32_t *spans,
                        const meft_attention &params) {
    lane.ran_target = kTarget;
    const Backward b{Layout(params), dq, dk, dv, d_o, q, k, v, o, lse};
    with_compute(params.compute, [&](auto way) { run_backward<decltype(way)>(lane, b, spans, params); });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
