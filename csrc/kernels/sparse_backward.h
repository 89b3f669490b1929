// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"
#include "kernels/adamw.h"
#include "kernels/sparse_forward.h"

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

// Keys and values that take their AdamW step in the backward pass; see meft_sparse_backward_step.
struct SparseStep {
    RowState keys;  // m null: frozen
    RowState values;
    const float *lr_history;
    const meft_adamw *adam;
    double clip;      // limit of the norm of the layer's gradients, or 0
    double *squares;  // (3) written: router, keys, values
};

struct sparse_backward_kernels {
    void (*backward)(meft_ctx &lane, const SparseGradients &gradients, const float *dy, const float *h,
                     const float *logits, const FiredPairs &pairs, const float *gate_weight, const RowPlanes &keys,
                     const RowPlanes &values, const meft_sparse &params);
    // Uses dh and dgate_weight of the gradients. Null where a backend takes the two one after the other.
    void (*backward_step)(meft_ctx &lane, const SparseGradients &gradients, const SparseStep &step, const float *dy,
                          const float *h, const float *logits, const FiredPairs &pairs, const float *gate_weight,
                          const meft_sparse &params);
};
constexpr const char *sparse_backward_names[] = {"backward", "backward_step"};

}  // namespace meft
