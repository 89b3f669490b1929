// SPDX-License-Identifier: Apache-2.0
// scope union, the paper's Algorithm 1: every token uses every neuron that any token of the call selected.
#pragma once

#include "cuda/kernels/sparse_select.cuh"
#include "kernels/sparse_forward.h"

namespace meft {
namespace cuda {

// Writes the pairs (t, j in the union) with score > 0, each with the token's own gate factor for j's expert, and how
// many there are; when that exceeds pair_capacity the pairs are not valid. All arrays on the device.
void fire_union(Operands &on, int32_t *tainted, const ForwardPairs &pairs, int64_t *needed, const SelectInput &input);

// The same of a union that is known: the experts of `input` are not read.
void fire_among(Operands &on, int32_t *tainted, const ForwardPairs &pairs, int64_t *needed, const SelectInput &input,
                const NeuronList &united);

}  // namespace cuda
}  // namespace meft
