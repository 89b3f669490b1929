// SPDX-License-Identifier: Apache-2.0
// The (token, neuron) pairs that fired, grouped by expert, and the one sum that forward and backward are made of:
//   out[o] (+)= sum over a segment's entries i, in order, of weight[i] * row(index[i]).
// y, dh and the router's share of dh have a token as o; row gradients have a slot, the router's weights an expert.
#pragma once

#include "core/context.h"
#include "core/pool.h"
#include "cpu/adapter_rows.h"

namespace meft {
namespace MEFT_TARGET_NS {

// Pairs [first, last) of one token, all of one expert. place: its number in token order, experts increasing.
struct PairSegment {
    int32_t token, first, last, place;
};

struct PairSegments {
    PairSegment *list;      // by expert, tokens increasing within one
    int64_t *starts;        // (N+1): segments of expert e are [starts[e], starts[e+1])
    int64_t *pair_starts;   // (N+1): pairs of experts before e
    int32_t *token_starts;  // (T+1): in token order, segments of token t are [token_starts[t], token_starts[t+1])
    int64_t count() const { return token_starts[tokens]; }
    int64_t tokens;
};

PairSegments segment_pairs(Workspace::Frame &frame, const int32_t *offsets, const int32_t *neurons,
                           const meft_sparse &params);

// A number known at compile time, as an argument.
template <int kValue>
struct Constant {
    static constexpr int value = kValue;
};

// Columns of a register tile of the sum.
constexpr int64_t kSumColumns = kSumVectors * kLanes;

// Terms of a sum: entry i is weight[i] * rows.row(index[i]).
template <class Rows>
struct Terms {
    Rows rows;
    const int32_t *index;
    const float *weight;
};

// out[0..kVectors vectors) (+)= terms first..last, columns from `column` on. written: begins at 0 instead of out.
template <int kVectors, class Rows, class Lanes>
inline void sum_tile(float *out, const Terms<Rows> &terms, int64_t first, int64_t last, int64_t column, bool written,
                     Lanes lanes) {
    constexpr int64_t kAhead = 4;  // rows that are not packed lie scattered: the hardware does not guess them
    vf sums[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[v] = written ? zero() : load(out + v * kLanes, lanes);
    for (int64_t i = first; i < last; ++i) {
        if (kVectors == kSumVectors && i + kAhead < last) {
            const auto next = terms.rows.at(terms.index[i + kAhead], column);
#pragma GCC unroll 16
            for (int v = 0; v < kVectors * kLanes; v += Rows::kLineElements) next.prefetch(v);
        }
        const auto row = terms.rows.at(terms.index[i], column);
        const vf weight = set1(terms.weight[i]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
            sums[v] = fma(weight, row.load(v * kLanes, lanes), sums[v]);
        }
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, sums[v], lanes);
}

// Calls tile(column, vectors constant, lanes) so that the tiles cover columns [begin, end), in order.
template <class Tile>
inline void each_sum_tile(int64_t begin, int64_t end, Tile &&tile) {
    int64_t column = begin;
    for (; column + kSumColumns <= end; column += kSumColumns) tile(column, Constant<kSumVectors>(), All{});
    for (; column + 4 * kLanes <= end; column += 4 * kLanes) tile(column, Constant<4>(), All{});
    for (; column + kLanes <= end; column += kLanes) tile(column, Constant<1>(), All{});
    if (column < end) tile(column, Constant<1>(), First{int(end - column)});
}

// out row o, all columns.
template <class Rows>
inline void sum_row(float *out, const Terms<Rows> &terms, int64_t first, int64_t last, int64_t columns, bool written) {
    each_sum_tile(0, columns, [&](int64_t column, auto vectors, auto lanes) {
        sum_tile<decltype(vectors)::value>(out + column, terms, first, last, column, written, lanes);
    });
}

// out (T,columns) += sums over the pairs, index and weight by pair. Expert outer, column tile inner: a tile of an
// expert's rows stays in L2 while its tokens pass. Tasks own columns and tokens, so no two write the same element.
template <class Rows>
void add_pair_sums(meft_ctx &lane, float *out, int64_t columns, const Terms<Rows> &terms, const PairSegments &segments,
                   int64_t experts) {
    constexpr int64_t kAhead = 4;  // segments: their elements of out lie scattered too
    const int64_t tiles = (columns + kSumColumns - 1) / kSumColumns;
    const int64_t across = tiles < lane.threads ? tiles : lane.threads;
    const int64_t width = (tiles + across - 1) / across * kSumColumns;
    const int64_t down = lane.threads > across ? 2 * lane.threads / across : 1;
    const int64_t height = (segments.tokens + down - 1) / down;
    parallel(lane, across * down, [&](int64_t task, int32_t) {
        const int64_t begin = task % across * width, end = begin + width < columns ? begin + width : columns;
        const int64_t low = task / across * height, high = low + height;
        for (int64_t e = 0; e < experts; ++e) {
            const PairSegment *from = segments.list + segments.starts[e], *to = segments.list + segments.starts[e + 1];
            while (from < to && from->token < low) ++from;
            while (to > from && to[-1].token >= high) --to;
            each_sum_tile(begin, end, [&](int64_t column, auto vectors, auto lanes) {
                constexpr int kVectors = decltype(vectors)::value;
                for (const PairSegment *s = from; s < to; ++s) {
                    const float *next = out + (s + kAhead < to ? s[kAhead].token : s->token) * columns + column;
                    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(next + v * kLanes, 1);
                    sum_tile<kVectors>(out + s->token * columns + column, terms, s->first, s->last, column, false,
                                       lanes);
                }
            });
        }
    });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
