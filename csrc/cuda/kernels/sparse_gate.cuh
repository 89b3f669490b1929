// SPDX-License-Identifier: Apache-2.0
// The gate of the sparse adapter: from router logits g (T,N) to the factors c of the neurons' scores, and back.
//   raw: c = g    softmax: c = softmax of g over all N experts    sigmoid: c = 1/(1 + exp(-g))    none: c = 1
#pragma once

#include "cuda/kernel.h"
#include "meft.h"

namespace meft {
namespace cuda {

struct GateFactors {
    const float *factors;  // (T,N), or null where every factor is 1
    int64_t experts;
    __device__ float at(int64_t token, int64_t expert) const {
        return factors != nullptr ? factors[token * experts + expert] : 1.f;
    }
};

// logits on the device. tainted (T), or null: set to 1 for tokens with a logit that is not finite, to 0 for the others.
GateFactors gate_factors(Operands &on, int32_t *tainted, const float *logits, const meft_sparse &params);

// dg of one expert from its factor and dc; of softmax, where experts mix, dc.
__device__ __forceinline__ float gate_gradient(int32_t gate, float factor, float dfactor) {
    if (gate == MEFT_GATE_SIGMOID) return factor * (1 - factor) * dfactor;
    return gate == MEFT_GATE_NONE ? 0.f : dfactor;
}

// Softmax, in place on dc (T,N): dg_e = c_e * (dc_e - sum over f of c_f * dc_f).
void softmax_gradient(cudaStream_t stream, float *dc, const GateFactors &factors, int64_t tokens);

}  // namespace cuda
}  // namespace meft
