// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// Keys behind and ahead of its own place that a query sees; INT32_MAX, further than any span is long, without a limit.
struct AttentionReach {
    int32_t behind, ahead;
};
inline AttentionReach reach_of(const meft_attention &a) {
    const int64_t window = a.window > 0 && a.window < INT32_MAX ? a.window : INT32_MAX;
    if (a.sees == MEFT_SEES_PAST) return {window < INT32_MAX ? int32_t(window - 1) : INT32_MAX, 0};
    const int32_t side = window < INT32_MAX ? int32_t(window / 2) : INT32_MAX;
    return {side, side};
}

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
