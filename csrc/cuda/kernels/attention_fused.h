// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/fused_attention.h"

namespace meft {
namespace cuda {

// Arrays of one call as the caller has them, on the device, all of one dtype (MEFT_F32 or MEFT_BF16) but lse.
struct AttentionCall {
    int32_t dtype;
    const void *q, *k, *v;
    void *o;  // forward writes, backward reads
    float *lse;
    const void *d_o;      // backward
    void *dq, *dk, *dv;  // backward
};

// False when the call is for our own kernels: products in f32, capped scores, a window on both sides, short or scattered
// spans, or shapes that the fused kernels lack. Then nothing was done.
bool attention_forward_fused(meft_ctx &lane, Operands &on, const AttentionCall &call, const int32_t *spans,
                             const meft_attention &params);
bool attention_backward_fused(meft_ctx &lane, Operands &on, const AttentionCall &call, const int32_t *spans,
                              const meft_attention &params);

}  // namespace cuda
}  // namespace meft
