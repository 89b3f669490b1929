// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// Arrays are of the compute type. Spans have been checked. Rows that no span holds are not touched: the caller has
// zeroed them.
struct attention_kernels {
    void (*forward)(meft_ctx &lane, void *o, float *lse, const void *q, const void *k, const void *v,
                    const int32_t *spans, const meft_attention &params);
    void (*backward)(meft_ctx &lane, void *dq, void *dk, void *dv, const void *d_o, const void *q, const void *k,
                     const void *v, const void *o, const float *lse, const int32_t *spans,
                     const meft_attention &params);
};
constexpr const char *attention_names[] = {"forward", "backward"};

}  // namespace meft
