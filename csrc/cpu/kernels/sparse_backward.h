// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"
#include "cpu/kernels/sparse_forward.h"

namespace meft {

// Outputs; see meft_sparse_backward.
struct SparseGradients {
    float *dh;
    float *dgate_weight;  // or null
    float *dkeys;         // or null
    float *dvalues;
    const int32_t *slots;
    int64_t first_new_slot;
};

// What forward left.
struct FiredPairs {
    const int32_t *offsets;
    const int32_t *neurons;
    const float *dots;
    const float *scores;
};

struct sparse_backward_kernels {
    void (*backward)(meft_ctx &lane, const SparseGradients &gradients, const float *dy, const float *h,
                     const float *logits, const FiredPairs &pairs, const float *gate_weight, const RowPlanes &keys,
                     const RowPlanes &values, const meft_sparse &params);
};

}  // namespace meft
