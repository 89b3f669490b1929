// SPDX-License-Identifier: Apache-2.0
// Attention, forward: tiles of rows x keys with an online softmax (Milakov and Gimelshein 2018; Dao et al.
// 2022), so that no more than a tile of scores exists. The backward pass stands in attention_backward.cpp.
#include "kernels/attention.h"

#include "core/pool.h"
#include "cpu/attention_span.h"

namespace meft {
namespace MEFT_TARGET_NS {

void attention_backward(meft_ctx &lane, void *dq, void *dk, void *dv, const void *d_o, const void *q, const void *k,
                        const void *v, const void *o, const float *lse, const int32_t *spans,
                        const meft_attention &params);

namespace {

constexpr int64_t kQueryBlock = 96;      // queries of one work item: packing a key tile is shared by this many rows
constexpr int64_t kRowTile = kRowBlock;  // rows of a score tile, which stays in L1

template <class Compute>
struct Forward {
    typedef typename ArrayOf<Compute>::element E;
    Layout at;
    E *o;
    float *lse;
    const E *q, *k, *v;
};

// What one thread needs; the softmax state (largest, total) and the sums of values have one entry, or head_dim, a row
// and unit of the work item. Converted queries and probabilities have room where they are no operands as they lie.
template <class Compute>
struct Scratch {
    typedef typename Compute::operand operand;
    operand *keys, *values, *queries, *weights;
    float *scores, *largest, *total, *sums;

    static int64_t state_count(const Layout &at) { return at.group * kQueryBlock; }
    static int64_t query_stride(const Layout &at) { return round_up(at.head_dim, kLanes); }
    Scratch(Workspace::Frame &frame, const Layout &at) {
        const int64_t packed = packed_count<Compute>(kKeyTile, round_up(at.head_dim, kLanes));
        keys = frame.take<operand>(packed);
        values = frame.take<operand>(packed);
        queries = converts_arrays<Compute>() ? frame.take<operand>(state_count(at) * query_stride(at)) : nullptr;
        weights = converts_floats<Compute>() ? frame.take<operand>(kRowTile * kKeyTile) : nullptr;
        scores = frame.take<float>(kRowTile * kKeyTile);
        largest = frame.take<float>(state_count(at));
        total = frame.take<float>(state_count(at));
        sums = frame.take<float>(state_count(at) * at.head_dim);
    }
};

// The rows of a work item, as `units` matrices of `rows` rows. Usually a unit is a query head and a row a query; a lone
// query (decoding) makes the group's heads the rows of one unit, so that they share one pass over the keys.
struct Rows {
    int64_t units, rows, row_stride, lse_stride, step;  // step: queries from row to row
    int64_t first_query, q_begin, lse_begin;            // offsets of unit 0, row 0

    Rows(const Layout &at, const Span &span, int64_t kv_head, int64_t begin, int64_t end) : first_query(begin) {
        const bool lone = end - begin == 1;
        units = lone ? 1 : at.group;
        rows = lone ? at.group : end - begin;
        row_stride = lone ? at.head_dim : at.q_stride;
        lse_stride = lone ? 1 : at.heads;
        step = lone ? 0 : 1;
        lse_begin = (span.q_begin + begin) * at.heads + kv_head * at.group;
        q_begin = lse_begin * at.head_dim;
    }
    int64_t query(int64_t row) const { return first_query + row * step; }
};

// Products q.k of a row's tile, up to width, become capped scores.
void cap_row(float *scores, int64_t width, const Layout &at) {
    const vf inward = set1(at.scale / at.softcap), outward = set1(at.softcap);
    for (int64_t j = 0; j < width; j += kLanes) store(scores + j, mul(outward, tanh(mul(load(scores + j), inward))));
}

// Takes the scores of keys [first, end) of a row's tile into its softmax. Scores become e^(scale*s - largest), zero
// outside of [first, end) up to width; the sums, which stand for the keys before, are brought to the new largest.
void softmax_row(float *scores, int64_t first, int64_t end, int64_t width, float scale, float *largest, float *total,
                 float *sums, int64_t head_dim) {
    const vf nothing = set1(-HUGE_VALF);
    vf best = nothing;
    for (int64_t j = 0; j < width; j += kLanes) {
        const vf s = keep_range(load(scores + j), int(first - j), int(end - j), nothing);
        store(scores + j, s);
        best = max(best, s);
    }
    const float tile_largest = max_of(best) * scale, before = *largest;
    if (tile_largest > before) *largest = tile_largest;
    // Nothing seen yet, or only -infinity: any finite shift gives e^-infinity = 0.
    const float shift = *largest == -HUGE_VALF ? 0.f : *largest;
    vf tile_total = zero();
    for (int64_t j = 0; j < width; j += kLanes) {
        const vf p = exp(fma(load(scores + j), set1(scale), set1(-shift)));
        store(scores + j, p);
        tile_total = add(tile_total, p);
    }
    if (*largest != before && before != -HUGE_VALF) {
        const float keep = std::exp(before - shift);
        *total *= keep;
        each_vector(0, head_dim,
                    [&](int64_t i, auto lanes) { store(sums + i, mul(load(sums + i, lanes), set1(keep)), lanes); });
    }
    *total += sum(tile_total);
}

// Rows [row, row + m) of a unit against keys [k0, k0 + n), which are packed; q are the unit's rows.
template <class Compute>
void forward_tile(const Forward<Compute> &f, const Span &span, const Rows &rows, Operands<Compute> q, int64_t unit,
                  int64_t row, int64_t m, int64_t k0, int64_t n, const Scratch<Compute> &s) {
    const Layout &at = f.at;
    const int64_t begin = span.keys_begin(rows.query(row)), end = span.keys_end(rows.query(row + m - 1));
    if (end <= k0 || begin >= k0 + n) return;
    const bool is_first = begin >= k0;
    const int64_t seen = smaller(n, end - k0);
    const int64_t state = unit * rows.rows + row;
    float *largest = s.largest + state, *total = s.total + state, *sums = s.sums + state * at.head_dim;
    // Whole panels: their packed width stands for all n keys.
    const int64_t columns = smaller(n, round_up(seen, kPanel)), width = round_up(seen, kLanes);
    const bool capped = at.softcap > 0;
    multiply<Compute>(s.scores, kKeyTile, q.data + row * q.stride, q.stride, s.keys, m, columns, at.head_dim, false);
    for (int64_t i = 0; i < m; ++i) {
        if (is_first) {
            largest[i] = -HUGE_VALF;
            total[i] = 0;
        }
        const int64_t query = rows.query(row + i);
        const int64_t to = smaller(seen, larger(0, span.keys_end(query) - k0));
        const int64_t from = smaller(to, larger(0, span.keys_begin(query) - k0));
        float *scores = s.scores + i * kKeyTile;
        if (capped) cap_row(scores, width, at);
        softmax_row(scores, from, to, width, capped ? 1.f : at.scale, largest + i, total + i, sums + i * at.head_dim,
                    at.head_dim);
    }
    const Operands<Compute> weights = operands_of<Compute>(matrix(s.scores, kKeyTile), m, seen, s.weights, kKeyTile);
    multiply_first<Compute>(sums, at.head_dim, weights.data, weights.stride, s.values, m, at.head_dim, seen, n,
                            !is_first);
}

// o = sums / total,  lse = largest + ln total.
template <class Compute>
void finish_rows(const Forward<Compute> &f, const Rows &rows, const Scratch<Compute> &s) {
    for (int64_t unit = 0; unit < rows.units; ++unit) {
        for (int64_t row = 0; row < rows.rows; ++row) {
            const int64_t state = unit * rows.rows + row;
            auto *o = f.o + rows.q_begin + unit * f.at.head_dim + row * rows.row_stride;
            const float *sums = s.sums + state * f.at.head_dim;
            const vf factor = set1(1.f / s.total[state]);
            each_vector(0, f.at.head_dim,
                        [&](int64_t i, auto lanes) { store(o + i, mul(load(sums + i, lanes), factor), lanes); });
            f.lse[rows.lse_begin + unit + row * rows.lse_stride] = s.largest[state] + std::log(s.total[state]);
        }
    }
}

// Queries [begin, end) of a span, of all query heads of a kv head.
template <class Compute>
void forward_block(const Forward<Compute> &f, const Span &span, int64_t kv_head, int64_t begin, int64_t end,
                   const Scratch<Compute> &s) {
    const Layout &at = f.at;
    const Rows rows(at, span, kv_head, begin, end);
    const int64_t last = span.keys_end(end - 1), stride = s.query_stride(at);
    const auto queries_of = [&](int64_t unit) {
        return matrix(f.q + rows.q_begin + unit * at.head_dim, rows.row_stride);
    };
    for (int64_t unit = 0; unit < (converts_arrays<Compute>() ? rows.units : 0); ++unit) {
        copy_rows<Compute>(s.queries + unit * rows.rows * stride, stride, queries_of(unit), nullptr, rows.rows,
                           at.head_dim);
    }
    for (int64_t k0 = span.keys_begin(begin); k0 < last; k0 += kKeyTile) {
        const int64_t n = smaller(kKeyTile, last - k0), place = at.key(span.k_begin + k0, kv_head);
        pack_transposed<Compute>(s.keys, matrix(f.k + place, at.k_stride), nullptr, n, at.head_dim);
        pack_normal<Compute>(s.values, matrix(f.v + place, at.k_stride), nullptr, n, at.head_dim);
        for (int64_t unit = 0; unit < rows.units; ++unit) {
            const Operands<Compute> as_they_lie{in_place<Compute>(queries_of(unit)), rows.row_stride};
            const Operands<Compute> q = converts_arrays<Compute>()
                                            ? Operands<Compute>{s.queries + unit * rows.rows * stride, stride}
                                            : as_they_lie;
            for (int64_t row = 0; row < rows.rows; row += kRowTile) {
                forward_tile<Compute>(f, span, rows, q, unit, row, smaller(kRowTile, rows.rows - row), k0, n, s);
            }
        }
    }
    finish_rows(f, rows, s);
}

int64_t blocks_of(const Span &span) { return (span.queries + kQueryBlock - 1) / kQueryBlock; }

template <class Compute>
void run_forward(meft_ctx &lane, const Forward<Compute> &f, const int32_t *spans, const meft_attention &params) {
    Workspace::Frame frame(lane.workspace);
    // Query blocks of spans before span s, and the multiply-adds of all.
    int64_t *blocks_before = frame.take<int64_t>(params.span_count + 1);
    blocks_before[0] = 0;
    double work = 0;
    for (int64_t s = 0; s < params.span_count; ++s) {
        const Span span = span_at(spans, s, params);
        blocks_before[s + 1] = blocks_before[s] + blocks_of(span);
        work += double(span.queries) * double(span.keys) * double(f.at.heads * f.at.head_dim);
    }
    const int64_t items = blocks_before[params.span_count] * f.at.kv_heads;
    const int64_t per_task = 1 + int64_t(double(items) * kWorkPerTask / (work + 1));
    Scratch<Compute> *scratch = frame.take<Scratch<Compute>>(lane.threads);
    for (int32_t thread = 0; thread < lane.threads; ++thread) scratch[thread] = Scratch<Compute>(frame, f.at);
    parallel_chunks(lane, items, per_task, [&](int64_t begin, int64_t end, int32_t thread) {
        const Scratch<Compute> &mine = scratch[thread];
        for (int64_t item = begin; item < end; ++item) {
            // Last blocks first: they see the most keys, and what is left at the end should be small.
            const int64_t block = blocks_before[params.span_count] - 1 - item / f.at.kv_heads;
            const int64_t s = index_of(blocks_before, params.span_count, block);
            const Span span = span_at(spans, s, params);
            const int64_t first = (block - blocks_before[s]) * kQueryBlock;
            forward_block<Compute>(f, span, item % f.at.kv_heads, first, smaller(first + kQueryBlock, span.queries),
                                   mine);
        }
    });
}

void attention_forward(meft_ctx &lane, void *o, float *lse, const void *q, const void *k, const void *v,
                       const int32_t *spans, const meft_attention &params) {
    lane.ran_target = kTarget;
    with_compute(params.compute, [&](auto way) {
        typedef typename ArrayOf<decltype(way)>::element E;
        const Forward<decltype(way)> f{
            Layout(params),           static_cast<E *>(o), lse, static_cast<const E *>(q), static_cast<const E *>(k),
            static_cast<const E *>(v)};
        run_forward(lane, f, spans, params);
    });
}

}  // namespace

extern const attention_kernels attention_table;
const attention_kernels attention_table = {attention_forward, attention_backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
