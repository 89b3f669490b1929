// SPDX-License-Identifier: Apache-2.0
// The gate of the sparse adapter: from router logits g (T,N) to the factors c of the neurons' scores, and back.
//   raw: c = g    softmax: c = softmax of g over all N experts    sigmoid: c = 1/(1 + exp(-g))    none: c = 1
#pragma once

#include "core/context.h"
#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

struct GateFactors {
    const float *factors;  // (T,N), or null where every factor is 1
    int64_t experts;
    float at(int64_t token, int64_t expert) const {
        return factors != nullptr ? factors[token * experts + expert] : 1.f;
    }
};

// Works in `frame`. tainted (T), or null: set to 1 for tokens with a logit that is not finite, to 0 for the others.
GateFactors gate_factors(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const float *logits,
                         const meft_sparse &params);

// dg of one expert from its factor and dc, for the gates where experts do not mix (all but softmax).
inline float gate_gradient(int32_t gate, float factor, float dfactor) {
    if (gate == MEFT_GATE_RAW) return dfactor;
    return gate == MEFT_GATE_SIGMOID ? factor * (1 - factor) * dfactor : 0.f;
}

// Softmax, in place on dc (T,N): dg_e = c_e * (dc_e - sum over f of c_f * dc_f).
void softmax_gradient(meft_ctx &lane, float *dc, const GateFactors &factors, int64_t tokens);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
