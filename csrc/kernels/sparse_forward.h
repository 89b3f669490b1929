// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// Keys or values as split planes.
struct RowPlanes {
    const uint16_t *hi;
    const int16_t *lo;
};

struct ForwardPairs {
    int32_t *offsets;
    int32_t *neurons;
    float *dots;
    float *scores;
};

// Neurons, increasing.
struct NeuronList {
    const int32_t *neurons;
    int64_t count;
};

struct sparse_forward_kernels {
    // Returns the pairs there are; when that exceeds params.pair_capacity nothing else is valid.
    int64_t (*forward)(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
                       const int32_t *experts, const RowPlanes &keys, const RowPlanes &values,
                       const meft_sparse &params);
    // Scope union with that union; what is returned is as of forward.
    int64_t (*among)(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
                     const NeuronList &united, const RowPlanes &keys, const RowPlanes &values,
                     const meft_sparse &params);
    void (*values)(meft_ctx &lane, float *y, const int32_t *offsets, const int32_t *neurons, const float *scores,
                   const RowPlanes &values, const meft_sparse &params);
};
constexpr const char *sparse_forward_names[] = {"forward", "among", "values"};

}  // namespace meft
