// SPDX-License-Identifier: Apache-2.0
// Attention, backward. Probabilities are made again from lse, a tile at a time. Per tile, with d = rowsum(do * o):
//   p = e^(s - lse),  s = scale*q k^T,  dp = do v^T,  ds = scale * p * (dp - d)
//   dv += p^T do,  dk += ds^T q,  dq += ds k
// Where scores are capped, s = softcap * t with t = tanh(scale*q k^T / softcap), and ds has the factor 1 - t^2 too.
// Every sum has one order, whichever threads there are: dk and dv of a key tile are one item's, and dq takes the key tiles
// in increasing order. An item is a (span, kv head) with the query heads of its group, or, where such would leave threads
// idle, one key tile of it; then a tile adds to rows of dq when the tile before it has (`Turn`), so that no tile needs
// sums of its own.
#include "core/pool.h"
#include "cpu/attention_span.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kRowTile = 2 * kRowBlock;  // queries of a tile

template <class Compute>
struct Backward {
    typedef typename ArrayOf<Compute>::element E;
    Layout at;
    float *dq;  // sums
    E *dk, *dv;
    const E *d_o, *q, *k, *v, *o;
    const float *lse;
};

// What one thread needs: packed operands, room for a left matrix where its rows are no operands as they lie, and the
// sums of a key tile's dk and dv.
template <class Compute>
struct Scratch {
    typedef typename Compute::operand operand;
    operand *keys_t, *values_t, *keys, *rows, *transposed, *left;
    float *p, *ds, *dk, *dv;

    static int64_t left_stride(const Layout &at) { return larger(round_up(at.head_dim, kLanes), kKeyTile); }
    Scratch(Workspace::Frame &frame, const Layout &at) {
        const int64_t wide = round_up(at.head_dim, kLanes), tile = kRowTile * kKeyTile;
        for (operand **packed : {&keys_t, &values_t, &keys}) *packed = frame.take<operand>(kKeyTile * wide);
        rows = frame.take<operand>(kRowTile * wide);
        transposed = frame.take<operand>(tile);
        left = converts_floats<Compute>() ? frame.take<operand>(kRowTile * left_stride(at)) : nullptr;
        p = frame.take<float>(tile);
        ds = frame.take<float>(tile);
        for (float **sums : {&dk, &dv}) *sums = frame.take<float>(kKeyTile * at.head_dim);
    }
};

// When a key tile may add to rows of dq. Places count the rows of all heads of the group, head after head, that a tile
// has added to or never will; null where one item has all tiles.
struct Turn {
    const int64_t *before;  // of the tile before; null for the first
    int64_t *own;

    void wait(int64_t place) const {
        if (before != nullptr) await_at_least(before, place);
    }
    void pass(int64_t place) const {
        if (own != nullptr) __atomic_store_n(own, place, __ATOMIC_RELEASE);
    }
};

template <class E>
float dot(const E *x, const E *y, int64_t count) {
    vf total = zero();
    each_vector(0, count, [&](int64_t i, auto lanes) { total = fma(load(x + i, lanes), load(y + i, lanes), total); });
    return sum(total);
}

// One row of a tile, in place: products q.k to p, dp to ds. Keys outside of [first, end) get zeros up to `width`,
// whatever stands there.
template <bool kCapped>
void differentiate_row(float *p, float *ds, int64_t first, int64_t end, int64_t width, const Layout &at, float lse,
                       float delta) {
    const vf shift = set1(-lse), d = set1(delta), scale = set1(at.scale);
    const vf inward = set1(kCapped ? at.scale / at.softcap : 0.f), outward = set1(at.softcap);
    for (int64_t j = 0; j < width; j += kLanes) {
        const int from = int(first - j), to = int(end - j);
        const vf capped = kCapped ? tanh(mul(load(p + j), inward)) : zero();
        const vf probability = exp(kCapped ? fma(capped, outward, shift) : fma(load(p + j), scale, shift));
        const vf factor = kCapped ? mul(scale, fnma(capped, capped, set1(1.f))) : scale;
        const vf slope = mul(mul(factor, probability), sub(load(ds + j), d));
        store(p + j, keep_range(probability, from, to, zero()));
        store(ds + j, keep_range(slope, from, to, zero()));
    }
}

// out (n keys) += tile^T rows, for a tile of m rows. `rows` are those of q or of do.
template <class Compute>
void add_transposed_product(float *out, const float *tile, Matrix rows, int64_t m, int64_t n, int64_t head_dim,
                            const Scratch<Compute> &s) {
    copy_columns<Compute>(s.transposed, kRowTile, matrix(tile, kKeyTile), nullptr, n, m);
    pack_normal<Compute>(s.rows, rows, nullptr, m, head_dim);
    multiply<Compute>(out, head_dim, s.transposed, kRowTile, s.rows, n, head_dim, m, true);
}

// Queries [row, row + m) of one head against keys [k0, k0 + n), which are packed.
template <class Compute>
void backward_tile(const Backward<Compute> &b, const Span &span, int64_t head, int64_t row, int64_t m, int64_t k0,
                   int64_t n, const Turn &turn, const Scratch<Compute> &s) {
    const Layout &at = b.at;
    const int64_t seen = smaller(n, span.keys_end(row + m - 1) - k0);
    const int64_t lse_at = (span.q_begin + row) * at.heads + head, place = lse_at * at.head_dim;
    const int64_t columns = smaller(n, round_up(seen, kPanel));  // whole panels: their width stands for all n keys
    const auto left = [&](Matrix rows, int64_t width) {
        return operands_of<Compute>(rows, m, width, s.left, s.left_stride(at));
    };
    const Matrix q_rows = matrix(b.q + place, at.q_stride), d_o_rows = matrix(b.d_o + place, at.q_stride);
    const Operands<Compute> q = left(q_rows, at.head_dim);
    multiply<Compute>(s.p, kKeyTile, q.data, q.stride, s.keys_t, m, columns, at.head_dim, false);
    const Operands<Compute> d_o = left(d_o_rows, at.head_dim);
    multiply<Compute>(s.ds, kKeyTile, d_o.data, d_o.stride, s.values_t, m, columns, at.head_dim, false);
    for (int64_t i = 0; i < m; ++i) {
        const int64_t here = place + i * at.q_stride;
        const int64_t to = smaller(seen, larger(0, span.keys_end(row + i) - k0));
        const int64_t from = smaller(to, larger(0, span.keys_begin(row + i) - k0));
        const float lse = b.lse[lse_at + i * at.heads], delta = dot(b.d_o + here, b.o + here, at.head_dim);
        float *p = s.p + i * kKeyTile, *slopes = s.ds + i * kKeyTile;
        const int64_t width = round_up(seen, kLanes);
        if (at.softcap > 0) {
            differentiate_row<true>(p, slopes, from, to, width, at, lse, delta);
        } else {
            differentiate_row<false>(p, slopes, from, to, width, at, lse, delta);
        }
    }
    const Operands<Compute> ds = left(matrix(s.ds, kKeyTile), seen);
    const int64_t done = head % at.group * span.queries + row + m;
    turn.wait(done);
    multiply_first<Compute>(b.dq + place, at.q_stride, ds.data, ds.stride, s.keys, m, at.head_dim, seen, n, true);
    turn.pass(done);
    add_transposed_product(s.dv, s.p, d_o_rows, m, seen, at.head_dim, s);
    add_transposed_product(s.dk, s.ds, q_rows, m, seen, at.head_dim, s);
}

// Keys [k0, k0 + n) of a kv head against all queries that see one of them, heads in order, queries in order.
template <class Compute>
void backward_keys(const Backward<Compute> &b, const Span &span, int64_t kv_head, int64_t k0, int64_t n,
                   const Turn &turn, const Scratch<Compute> &s) {
    const Layout &at = b.at;
    const int64_t place = at.key(span.k_begin + k0, kv_head);
    for (float *sums : {s.dk, s.dv}) std::memset(sums, 0, size_t(n * at.head_dim) * sizeof *sums);
    const int64_t begin = span.queries_begin(k0), end = span.queries_end(k0 + n);
    if (begin < end) {
        pack_transposed<Compute>(s.keys_t, matrix(b.k + place, at.k_stride), nullptr, n, at.head_dim);
        pack_transposed<Compute>(s.values_t, matrix(b.v + place, at.k_stride), nullptr, n, at.head_dim);
        pack_normal<Compute>(s.keys, matrix(b.k + place, at.k_stride), nullptr, n, at.head_dim);
    }
    for (int64_t head = 0; head < at.group; ++head) {
        for (int64_t row = begin; row < end; row += kRowTile) {
            backward_tile(b, span, kv_head * at.group + head, row, smaller(kRowTile, end - row), k0, n, turn, s);
        }
        turn.pass((head + 1) * span.queries);
    }
    for (int64_t j = 0; j < n; ++j) {
        convert(b.dk + place + j * at.k_stride, s.dk + j * at.head_dim, 0, at.head_dim);
        convert(b.dv + place + j * at.k_stride, s.dv + j * at.head_dim, 0, at.head_dim);
    }
}

int64_t tiles_of(const Span &span) { return (span.keys + kKeyTile - 1) / kKeyTile; }

// One key tile of a (span, kv head). The first clears dq, before it lets another add to it.
template <class Compute>
void backward_key_tile(const Backward<Compute> &b, const Span &span, int64_t kv_head, int64_t tile, const Turn &turn,
                       const Scratch<Compute> &s) {
    const int64_t width = b.at.group * b.at.head_dim, k0 = tile * kKeyTile;
    for (int64_t i = 0; i < (tile == 0 ? span.queries : 0); ++i) {
        std::memset(b.dq + (span.q_begin + i) * b.at.q_stride + kv_head * width, 0, size_t(width) * 4);
    }
    backward_keys(b, span, kv_head, k0, smaller(kKeyTile, span.keys - k0), turn, s);
}

// dq rounded, for the rows of the spans.
template <class E>
void round_rows(meft_ctx &lane, E *dq, const float *sums, const int32_t *spans, const meft_attention &params) {
    const int64_t width = params.heads * params.head_dim;
    for (int64_t s = 0; s < params.span_count; ++s) {
        const Span span = span_at(spans, s, params);
        const int64_t offset = span.q_begin * width;
        parallel_chunks(lane, span.queries * width, 1 << 14, [=](int64_t begin, int64_t end, int32_t) {
            convert(dq, sums, offset + begin, offset + end);
        });
    }
}

// Multiply-adds of a call, and how they are cut.
struct Work {
    double all = 0, largest = 0;  // of all pairs of a span and a kv head, of the largest
    int64_t pairs;

    Work(const Layout &at, const int32_t *spans, const meft_attention &params)
        : pairs(params.span_count * at.kv_heads) {
        for (int64_t s = 0; s < params.span_count; ++s) {
            const Span span = span_at(spans, s, params);
            const double one = 2.5 * double(span.queries) * double(span.keys) * double(at.group * at.head_dim);
            all += one * double(at.kv_heads);
            largest = one > largest ? one : largest;
        }
    }
    // Whether threads stay busy with whole pairs: these share nothing.
    bool is_even(int32_t threads) const {
        const bool equal = largest * double(pairs) <= all * 1.01;
        return threads <= 1 || (equal && pairs % threads == 0) || largest * threads * 4 <= all;
    }
};

// Adds to dk, dv and the sums of dq, pair by pair.
template <class Compute>
void backward_pairs(meft_ctx &lane, const Backward<Compute> &b, const Work &work, const int32_t *spans,
                    const meft_attention &params, const Scratch<Compute> *scratch) {
    const int64_t per_task = 1 + int64_t(double(work.pairs) * kWorkPerTask / (work.all + 1));
    parallel_chunks(lane, work.pairs, per_task, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t pair = begin; pair < end; ++pair) {
            const Span span = span_at(spans, pair / b.at.kv_heads, params);
            for (int64_t tile = 0; tile < tiles_of(span); ++tile) {
                backward_key_tile(b, span, pair % b.at.kv_heads, tile, Turn{nullptr, nullptr}, scratch[thread]);
            }
        }
    });
}

// The same, key tile by key tile. Those of a kv head are kv_heads items apart: threads seldom wait for each other.
template <class Compute>
void backward_tiles(meft_ctx &lane, const Backward<Compute> &b, const Work &work, const int32_t *spans,
                    const meft_attention &params, const Scratch<Compute> *scratch) {
    const int64_t kv_heads = b.at.kv_heads;
    Workspace::Frame frame(lane.workspace);
    int64_t *tiles_before = frame.take<int64_t>(params.span_count + 1);
    tiles_before[0] = 0;
    for (int64_t s = 0; s < params.span_count; ++s) {
        tiles_before[s + 1] = tiles_before[s] + tiles_of(span_at(spans, s, params));
    }
    const int64_t items = tiles_before[params.span_count] * kv_heads;
    int64_t *places = frame.take<int64_t>(items);
    std::memset(places, 0, size_t(items) * sizeof *places);
    const int64_t per_task = 1 + int64_t(double(items) * kWorkPerTask / (work.all + 1));
    parallel_chunks(lane, items, per_task, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t s = index_of(tiles_before, params.span_count, item / kv_heads);
            const int64_t tile = item / kv_heads - tiles_before[s];
            const Turn turn = {tile > 0 ? places + item - kv_heads : nullptr, places + item};
            backward_key_tile(b, span_at(spans, s, params), item % kv_heads, tile, turn, scratch[thread]);
        }
    });
}

template <class Compute>
void run_backward(meft_ctx &lane, Backward<Compute> b, void *dq, const int32_t *spans, const meft_attention &params) {
    typedef typename ArrayOf<Compute>::element E;
    Workspace::Frame frame(lane.workspace);
    // The sums are dq itself where that is f32.
    const bool rounds = ArrayOf<Compute>::kDtype != MEFT_F32;
    b.dq = rounds ? frame.take<float>(params.q_rows * b.at.q_stride) : static_cast<float *>(dq);
    Scratch<Compute> *scratch = frame.take<Scratch<Compute>>(lane.threads);
    for (int32_t thread = 0; thread < lane.threads; ++thread) scratch[thread] = Scratch<Compute>(frame, b.at);
    const Work work(b.at, spans, params);
    if (work.is_even(lane.threads)) {
        backward_pairs(lane, b, work, spans, params, scratch);
    } else {
        backward_tiles(lane, b, work, spans, params, scratch);
    }
    if (rounds) round_rows(lane, static_cast<E *>(dq), b.dq, spans, params);
}

}  // namespace

void attention_backward(meft_ctx &lane, void *dq, void *dk, void *dv, const void *d_o, const void *q, const void *k,
                        const void *v, const void *o, const float *lse, const int32_t *spans,
                        const meft_attention &params) {
    lane.ran_target = kTarget;
    with_compute(params.compute, [&](auto way) {
        typedef typename ArrayOf<decltype(way)>::element E;
        const auto in = [](const void *array) { return static_cast<const E *>(array); };
        const Backward<decltype(way)> b{
            Layout(params), nullptr, static_cast<E *>(dk), static_cast<E *>(dv), in(d_o), in(q), in(k), in(v),
            in(o),          lse};
        run_backward(lane, b, dq, spans, params);
    });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
