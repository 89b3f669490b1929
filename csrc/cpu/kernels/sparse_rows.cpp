// SPDX-License-Identifier: Apache-2.0
// Rows of keys and values: their gradients, written out or used at once by the optimizer.
#include "cpu/sparse_backward_parts.h"
#include "cpu/square_sum.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kRowsPerTask = 16;

Terms<F32Rows> terms_of(const RowSums &sums) {
    return {{sums.from, sums.hidden}, sums.sorted->tokens, sums.weights};
}

}  // namespace

// A counting sort, experts in parallel: an expert's pairs stand together before and after.
PairsByNeuron sort_by_neuron(meft_ctx &lane, Workspace::Frame &frame, const BackwardCall &call) {
    const meft_sparse &params = *call.params;
    const PairSegments &segments = call.segments;
    const int64_t count = segments.pair_starts[params.experts], per_expert = params.neurons / params.experts;
    PairsByNeuron sorted = {frame.take<int64_t>(params.neurons + 1), frame.take<int32_t>(count),
                            frame.take<float>(count), frame.take<float>(count),
                            frame.take<int32_t>(params.neurons), 0};
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
    for (int64_t j = 0; j < params.neurons; ++j) {
        if (sorted.starts[j] < sorted.starts[j + 1]) sorted.rows[sorted.row_count++] = int32_t(j);
    }
    return sorted;
}

void add_row_gradients(meft_ctx &lane, float *rows, const SparseGradients &gradients, const RowSums &sums) {
    const Terms<F32Rows> terms = terms_of(sums);
    const PairsByNeuron &sorted = *sums.sorted;
    parallel_chunks(lane, sorted.row_count, kRowsPerTask, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t j = sorted.rows[i], slot = gradients.slots[j];
            sum_row(rows + slot * sums.hidden, terms, sorted.starts[j], sorted.starts[j + 1], sums.hidden,
                    slot >= gradients.first_new_slot);
        }
    });
}

double square_row_gradients(meft_ctx &lane, const RowSums &sums) {
    Workspace::Frame frame(lane.workspace);
    const Terms<F32Rows> terms = terms_of(sums);
    const PairsByNeuron &sorted = *sums.sorted;
    const int64_t hidden = sums.hidden, count = sorted.row_count * hidden;
    float *lines = frame.take<float>(lane.threads * hidden);
    double *partial = frame.take<double>((count + kSquareChunk - 1) / kSquareChunk);
    parallel_chunks(lane, count, kSquareChunk, [&](int64_t begin, int64_t end, int32_t thread) {
        float *line = lines + thread * hidden;
        SquareSum sum;
        for (int64_t i = begin / hidden; i * hidden < end; ++i) {
            const int64_t j = sorted.rows[i], first = i * hidden > begin ? i * hidden : begin;
            const int64_t last = (i + 1) * hidden < end ? (i + 1) * hidden : end;
            sum_row(line, terms, sorted.starts[j], sorted.starts[j + 1], hidden, true);
            sum.add(line + (first - i * hidden), first - begin, last - first);
        }
        partial[begin / kSquareChunk] = sum.total();
    });
    double total = 0;
    for (int64_t at = 0; at < count; at += kSquareChunk) total += partial[at / kSquareChunk];
    return total;
}

void step_row_gradients(meft_ctx &lane, const RowSums &sums, const RowState &state, const float *lr_history,
                        const meft_adamw &adam) {
    Workspace::Frame frame(lane.workspace);
    const Terms<F32Rows> terms = terms_of(sums);
    const PairsByNeuron &sorted = *sums.sorted;
    const int64_t hidden = sums.hidden, count = sorted.row_count;
    const RowsCall call = begin_rows(frame, state, lr_history, adam, sorted.rows, count, sums.neurons);
    float *lines = frame.take<float>(lane.threads * hidden);
    parallel_chunks(lane, count, rows_per_task(hidden), [&](int64_t begin, int64_t end, int32_t thread) {
        float *line = lines + thread * hidden;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t j = sorted.rows[i];
            sum_row(line, terms, sorted.starts[j], sorted.starts[j + 1], hidden, true);
            step_row(call, j, sorted.rows[i + 1 < count ? i + 1 : i], line);
        }
    });
    if (adam.mode != MEFT_ADAM_DENSE) return;
    parallel_chunks(lane, sums.neurons, rows_per_task(hidden), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) step_row_without(call, row);
    });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
