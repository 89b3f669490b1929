// SPDX-License-Identifier: Apache-2.0
// Parts of the sparse adapter's step that no call of the library has to itself, on operands that the caller prepared.
// parts.cpp is compiled once per target and knows no STL, as kernels do.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "kernels/sparse_backward.h"
#include "kernels/sparse_forward.h"

namespace meft {

struct PartOperands {
    const meft_sparse *params;
    const float *h, *dy, *logits;
    const int32_t *experts;
    FiredPairs pairs;       // what forward left
    ForwardPairs chosen;    // room for as many, written by scoring
    RowPlanes keys, values;
    const float *wide;      // (R,D): values as f32 rows
    float *out;             // (T,D)
    float *dkeys, *dvalues;
    const int32_t *slots;
    RowState keys_state, values_state;
    const float *lr_history;
    const meft_adamw *adam;
};

struct PartTable {
    int32_t target;
    void (*score)(meft_ctx &lane, const PartOperands &);            // scores, top-K
    void (*select)(const float *scores, int64_t rows, int64_t count, int64_t keep, float *best, int32_t *ids);
    void (*sum_values)(meft_ctx &lane, const PartOperands &);       // y, by expert and column tile
    void (*sum_by_token)(meft_ctx &lane, const PartOperands &);     // the same, a token after the other
    void (*dots)(meft_ctx &lane, const PartOperands &);             // da
    void (*rows)(meft_ctx &lane, const PartOperands &);             // dW of keys and values
    void (*fused)(meft_ctx &lane, const PartOperands &);            // the same and AdamW, in one
};

}  // namespace meft
