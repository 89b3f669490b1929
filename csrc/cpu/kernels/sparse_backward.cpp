// SPDX-License-Identifier: Apache-2.0
// The sparse adapter, backward. For a pair p = (t, j) that fired, e the expert of j, c the gate factor of (t, e):
//   dscore_p = dy_t . value_j       dvalue_j += score_p dy_t
//   ddot_p = c dscore_p             dkey_j += ddot_p h_t       dh_t += ddot_p key_j
//   dc_te = sum over the token's pairs of e of dot_p dscore_p, dg by the gate (sparse_gate.h)
//   dh_t += sum over e of dg_te W_g[e]       dW_g[e] += dg_te h_t
#include "cpu/kernels/sparse_backward.h"

#include "cpu/product.h"
#include "cpu/sparse_gate.h"
#include "cpu/sparse_pairs.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kSegmentsPerTask = 64;
constexpr int64_t kDotColumns = 1024;  // of dy and values at once: a tile of an expert's values stays in cache
constexpr int64_t kRowsPerTask = 16;

struct BackwardCall {
    const meft_sparse *params;
    const FiredPairs *pairs;
    PairSegments segments;
    GateFactors gate;
    float *ddots;     // (P)
    float *dfactors;  // by place of the segment: dc
};

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

// ---- rows of keys and values

// The pairs by neuron, tokens increasing: those of neuron j are [starts[j], starts[j+1]).
struct PairsByNeuron {
    int64_t *starts;  // (R+1)
    int32_t *tokens;
    float *scores;
    float *ddots;
};

// A counting sort, experts in parallel: an expert's pairs stand together before and after.
PairsByNeuron sort_by_neuron(meft_ctx &lane, Workspace::Frame &frame, const BackwardCall &call) {
    const meft_sparse &params = *call.params;
    const PairSegments &segments = call.segments;
    const int64_t count = segments.pair_starts[params.experts], per_expert = params.neurons / params.experts;
    PairsByNeuron sorted = {frame.take<int64_t>(params.neurons + 1), frame.take<int32_t>(count),
                            frame.take<float>(count), frame.take<float>(count)};
    int64_t *next = frame.take<int64_t>(params.neurons);
    parallel(lane, params.experts, [&](int64_t e, int32_t) {
        const PairSegment *from = segments.list + segments.starts[e], *to = segments.list + segments.starts[e + 1];
        for (int64_t j = e * per_expert; j < (e + 1) * per_expert; ++j) next[j] = 0;
        for (const PairSegment *s = from; s < to; ++s) {
            for (int32_t p = s->first; p < s->last; ++p) ++next[call.pairs->neurons[p]];
        }
        int64_t start = segments.pair_starts[e];
        for (int64_t j = e * per_expert; j < (e + 1) * per_expert; ++j) {
            const int64_t of_neuron = next[j];
            sorted.starts[j] = next[j] = start;
            start += of_neuron;
        }
        for (const PairSegment *s = from; s < to; ++s) {
            for (int32_t p = s->first; p < s->last; ++p) {
                const int64_t at = next[call.pairs->neurons[p]]++;
                sorted.tokens[at] = s->token;
                sorted.scores[at] = call.pairs->scores[p];
                sorted.ddots[at] = call.ddots[p];
            }
        }
    });
    sorted.starts[params.neurons] = count;
    return sorted;
}

// Row gradients of one matrix: row j gets the sum over its pairs of weight * from_token.
void add_row_gradients(meft_ctx &lane, float *rows, const SparseGradients &gradients, const PairsByNeuron &sorted,
                       const float *weights, const float *from, const meft_sparse &params) {
    const Terms<F32Rows> terms = {{from, params.hidden}, sorted.tokens, weights};
    parallel_chunks(lane, params.neurons, kRowsPerTask, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t j = begin; j < end; ++j) {
            const int64_t first = sorted.starts[j], last = sorted.starts[j + 1];
            if (first == last) continue;
            const int64_t slot = gradients.slots[j];
            sum_row(rows + slot * params.hidden, terms, first, last, params.hidden, slot >= gradients.first_new_slot);
        }
    });
}

// Values, then keys: a pass reads dy or h of an expert's tokens, which then stay in L2 for the expert's other neurons.
void row_gradients(meft_ctx &lane, const BackwardCall &call, const SparseGradients &gradients, const float *dy,
                   const float *h) {
    Workspace::Frame frame(lane.workspace);
    const PairsByNeuron sorted = sort_by_neuron(lane, frame, call);
    add_row_gradients(lane, gradients.dvalues, gradients, sorted, sorted.scores, dy, *call.params);
    if (gradients.dkeys == nullptr) return;
    add_row_gradients(lane, gradients.dkeys, gradients, sorted, sorted.ddots, h, *call.params);
}

// ---- the router

// raw, sigmoid: dg is 0 but for experts that fired, so both sums run over segments.
void sparse_router_gradients(meft_ctx &lane, const BackwardCall &call, const SparseGradients &gradients, const float *h,
                             const float *gate_weight) {
    Workspace::Frame frame(lane.workspace);
    const meft_sparse &params = *call.params;
    const PairSegments &segments = call.segments;
    const int64_t hidden = params.hidden, count = segments.count();
    int32_t *experts = frame.take<int32_t>(count), *tokens = frame.take<int32_t>(count);
    float *by_place = frame.take<float>(count), *by_expert = frame.take<float>(count);
    for (int64_t e = 0; e < params.experts; ++e) {
        for (int64_t i = segments.starts[e]; i < segments.starts[e + 1]; ++i) {
            const PairSegment &s = segments.list[i];
            experts[s.place] = int32_t(e);
            tokens[i] = s.token;
            by_expert[i] = gate_gradient(params.gate, call.gate.at(s.token, e), call.dfactors[s.place]);
            by_place[s.place] = by_expert[i];
        }
    }
    const Terms<F32Rows> router = {{gate_weight, hidden}, experts, by_place};
    parallel_chunks(lane, params.tokens, kRowsPerTask, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            sum_row(gradients.dh + t * hidden, router, segments.token_starts[t], segments.token_starts[t + 1], hidden,
                    false);
        }
    });
    if (gradients.dgate_weight == nullptr) return;
    const Terms<F32Rows> inputs = {{h, hidden}, tokens, by_expert};
    parallel(lane, params.experts, [&](int64_t e, int32_t) {
        sum_row(gradients.dgate_weight + e * hidden, inputs, segments.starts[e], segments.starts[e + 1], hidden, false);
    });
}

// softmax: every logit of a token moves all its factors, so dg is dense.
void dense_router_gradients(meft_ctx &lane, const BackwardCall &call, const SparseGradients &gradients, const float *h,
                            const float *gate_weight) {
    Workspace::Frame frame(lane.workspace);
    const meft_sparse &params = *call.params;
    const int64_t tokens = params.tokens, experts = params.experts, hidden = params.hidden;
    float *dg = frame.take<float>(tokens * experts);
    std::memset(dg, 0, size_t(tokens * experts) * sizeof(float));
    for (int64_t e = 0; e < experts; ++e) {
        for (int64_t i = call.segments.starts[e]; i < call.segments.starts[e + 1]; ++i) {
            const PairSegment &s = call.segments.list[i];
            dg[s.token * experts + e] = call.dfactors[s.place];
        }
    }
    softmax_gradient(lane, dg, call.gate, tokens);
    const Matrix gradient = matrix(dg, experts);
    wide_product<F32>(lane, {gradients.dh, hidden, gradient, false, matrix(gate_weight, hidden), false, tokens, hidden,
                             experts, true});
    if (gradients.dgate_weight == nullptr) return;
    wide_product<F32>(lane, {gradients.dgate_weight, hidden, gradient, true, matrix(h, hidden), false, experts, hidden,
                             tokens, true});
}

void backward(meft_ctx &lane, const SparseGradients &gradients, const float *dy, const float *h, const float *logits,
              const FiredPairs &pairs, const float *gate_weight, const RowPlanes &keys, const RowPlanes &values,
              const meft_sparse &params) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    BackwardCall call = {&params,
                         &pairs,
                         segment_pairs(frame, pairs.offsets, pairs.neurons, params),
                         gate_factors(lane, frame, nullptr, logits, params),
                         nullptr,
                         nullptr};
    call.ddots = frame.take<float>(pairs.offsets[params.tokens]);
    call.dfactors = frame.take<float>(call.segments.count());
    all_score_gradients(lane, call, dy, {values.hi, values.lo, params.hidden});
    with_rows({keys.hi, keys.lo, params.hidden}, params.compute, [&](auto rows) {
        add_pair_sums(lane, gradients.dh, params.hidden, Terms<decltype(rows)>{rows, pairs.neurons, call.ddots},
                      call.segments, params.experts);
    });
    row_gradients(lane, call, gradients, dy, h);
    if (params.gate == MEFT_GATE_NONE) return;
    if (params.gate == MEFT_GATE_SOFTMAX) {
        dense_router_gradients(lane, call, gradients, h, gate_weight);
    } else {
        sparse_router_gradients(lane, call, gradients, h, gate_weight);
    }
}

}  // namespace

extern const sparse_backward_kernels sparse_backward_table;
const sparse_backward_kernels sparse_backward_table = {backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
