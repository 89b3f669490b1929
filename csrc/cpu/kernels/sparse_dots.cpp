// SPDX-License-Identifier: Apache-2.0
// Sampled dots: the gradient of a pair's score is dy of its token times the value row of its neuron.
#include "cpu/sparse_backward_parts.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kSegmentsPerTask = 64;
constexpr int64_t kDotColumns = 1024;  // of dy and values at once: a tile of an expert's values stays in cache

// dots[i] (+)= x . row(index[i]) over columns [begin, end), for kRows pairs at once: their rows' loads overlap.
template <int kRows, class Rows>
void dot_pairs(float *dots, const float *x, const Rows &rows, const int32_t *index, int64_t begin, int64_t end) {
    vf sums[kRows];
    typename Rows::Row row[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
        sums[i] = zero();
        row[i] = rows.at(index[i], 0);
    }
    each_vector(begin, end, [&](int64_t c, auto lanes) {
        const vf column = load(x + c, lanes);
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) sums[i] = fma(column, row[i].load(c, lanes), sums[i]);
    });
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) dots[i] = begin == 0 ? sum(sums[i]) : dots[i] + sum(sums[i]);
}

// dscore of the pairs of some segments of one expert, into ddots; then ddot in its place, and dc.
template <class Rows>
void score_gradients(const BackwardCall &call, const float *dy, const Rows &values, int64_t expert,
                     const PairSegment *from, const PairSegment *to) {
    const int64_t hidden = call.params->hidden;
    const int32_t *neurons = call.pairs->neurons;
    for (int64_t begin = 0; begin < hidden; begin += kDotColumns) {
        const int64_t end = begin + kDotColumns < hidden ? begin + kDotColumns : hidden;
        for (const PairSegment *s = from; s < to; ++s) {
            const float *x = dy + s->token * hidden;
            int32_t p = s->first;
            for (; p + 4 <= s->last; p += 4) dot_pairs<4>(call.ddots + p, x, values, neurons + p, begin, end);
            for (; p < s->last; ++p) dot_pairs<1>(call.ddots + p, x, values, neurons + p, begin, end);
        }
    }
    for (const PairSegment *s = from; s < to; ++s) {
        const float factor = call.gate.at(s->token, expert);
        float dfactor = 0;
        for (int32_t p = s->first; p < s->last; ++p) {
            dfactor += call.pairs->dots[p] * call.ddots[p];
            call.ddots[p] *= factor;
        }
        call.dfactors[s->place] = dfactor;
    }
}

// Pieces of the segment list that do not cross experts.
struct Piece {
    int64_t first, last;
    int32_t expert;
};

}  // namespace

void all_score_gradients(meft_ctx &lane, const BackwardCall &call, const float *dy, const AdapterRows &values) {
    Workspace::Frame frame(lane.workspace);
    const int64_t experts = call.params->experts;
    Piece *pieces = frame.take<Piece>(experts + call.segments.count() / kSegmentsPerTask + 1);
    int64_t count = 0;
    for (int64_t e = 0; e < experts; ++e) {
        const int64_t end = call.segments.starts[e + 1];
        for (int64_t s = call.segments.starts[e]; s < end; s += kSegmentsPerTask) {
            pieces[count++] = {s, s + kSegmentsPerTask < end ? s + kSegmentsPerTask : end, int32_t(e)};
        }
    }
    with_rows(values, call.params->compute, [&](auto rows) {
        parallel(lane, count, [&](int64_t i, int32_t) {
            score_gradients(call, dy, rows, pieces[i].expert, call.segments.list + pieces[i].first,
                            call.segments.list + pieces[i].last);
        });
    });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
