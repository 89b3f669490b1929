// SPDX-License-Identifier: Apache-2.0
// scope union, the paper's Algorithm 1: every token uses every neuron that any token of the call selected.
#pragma once

#include "cpu/sparse_select.h"
#include "kernels/sparse_forward.h"

namespace meft {
namespace MEFT_TARGET_NS {

// Writes the pairs (t, j in the union) with score > 0, each with the token's own gate factor for j's expert. Returns
// how many there are; when that exceeds pair_capacity the pairs are not valid.
int64_t fire_union(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const ForwardPairs &pairs,
                   const SelectInput &input);

// The same of a union that is known: `input.experts` is not read.
int64_t fire_among(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const ForwardPairs &pairs,
                   const SelectInput &input, const NeuronList &united);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
