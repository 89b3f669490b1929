// SPDX-License-Identifier: Apache-2.0
// What the backward pass of the sparse adapter is made of: gradients of scores (kernels/sparse_dots.cpp), then rows of
// keys and values (kernels/sparse_rows.cpp). The equations stand in kernels/sparse_backward.cpp.
#pragma once

#include "cpu/adamw_rows.h"
#include "cpu/sparse_gate.h"
#include "cpu/sparse_pairs.h"
#include "kernels/sparse_backward.h"

namespace meft {
namespace MEFT_TARGET_NS {

struct BackwardCall {
    const meft_sparse *params;
    const FiredPairs *pairs;
    PairSegments segments;
    GateFactors gate;
    float *ddots;     // (P)
    float *dfactors;  // by place of the segment: dc
};

// dscore of all pairs, by expert; writes ddots and dfactors.
void all_score_gradients(meft_ctx &lane, const BackwardCall &call, const float *dy, const AdapterRows &values);

// The pairs by neuron, tokens increasing: those of neuron j are [starts[j], starts[j+1]).
struct PairsByNeuron {
    int64_t *starts;  // (R+1)
    int32_t *tokens;
    float *scores;
    float *ddots;
    int32_t *rows;  // neurons with pairs, increasing
    int64_t row_count;
};
PairsByNeuron sort_by_neuron(meft_ctx &lane, Workspace::Frame &frame, const BackwardCall &call);

// Gradients of one matrix' rows: that of row j is the sum over its pairs of weights * row of `from` (T,D).
struct RowSums {
    const PairsByNeuron *sorted;
    const float *weights;  // by place in the sorted pairs
    const float *from;
    int64_t neurons, hidden;
};

// Into the compact rows.
void add_row_gradients(meft_ctx &lane, float *rows, const SparseGradients &gradients, const RowSums &sums);

// Their sum of squares, the bits that summing the compact rows would give; nothing is written.
double square_row_gradients(meft_ctx &lane, const RowSums &sums);

// An AdamW step with each row's gradient while it is in cache: nothing is written but the state.
void step_row_gradients(meft_ctx &lane, const RowSums &sums, const RowState &state, const float *lr_history,
                        const meft_adamw &adam);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
