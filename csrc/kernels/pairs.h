// SPDX-License-Identifier: Apache-2.0
// Numbers of (token, neuron) pairs as a dense matrix and back; see meft.h.
#pragma once

#include "core/context.h"

namespace meft {

struct pairs_kernels {
    // offsets increase from 0; columns are below width.
    void (*scatter)(meft_ctx &lane, float *out, const float *values, const int32_t *offsets, const int32_t *columns,
                    int64_t tokens, int64_t width);
    void (*gather)(meft_ctx &lane, float *out, const float *dense, const int32_t *offsets, const int32_t *columns,
                   int64_t tokens, int64_t width);
};
constexpr const char *pairs_names[] = {"scatter", "gather"};

}  // namespace meft
