// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// Spans have been checked. Rows that no span holds are not touched: the caller has zeroed them.
struct attention_kernels {
    void (*forward)(meft_ctx &lane, float *o, float *lse, const float *q, const float *k, const float *v,
                    const int32_t *spans, const meft_attention &params);
    void (*backward)(meft_ctx &lane, float *dq, float *dk, float *dv, const float *d_o, const float *q, const float *k,
                     const float *v, const float *o, const float *lse, const int32_t *spans,
                     const meft_attention &params);
};

}  // namespace meft
