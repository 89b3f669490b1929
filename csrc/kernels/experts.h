// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/context.h"

namespace meft {

// Sizes of a choice: `active` of `experts` for each token.
struct ExpertSizes {
    int64_t tokens;
    int64_t experts;
    int64_t active;
    bool normalised;
};

// Row numbers have been checked. Formulas stand in meft.h.
struct experts_kernels {
    void (*choose)(meft_ctx &lane, float *weights, int32_t *chosen, const float *logits, const ExpertSizes &sizes);
    // Of a choice that is given.
    void (*weights)(meft_ctx &lane, float *weights, const int32_t *chosen, const float *logits,
                    const ExpertSizes &sizes);
    void (*choose_backward)(meft_ctx &lane, float *dlogits, const float *dweights, const float *logits,
                            const int32_t *chosen, const ExpertSizes &sizes);
    void (*gather)(meft_ctx &lane, Activation y, ConstActivation x, const int32_t *rows, int64_t count, int64_t x_rows,
                   int64_t width);
    // weights: null for 1.
    void (*combine)(meft_ctx &lane, float *y, ConstActivation x, const int32_t *places, const float *weights,
                    int64_t tokens, int64_t active, int64_t width, bool accumulate);
    void (*weigh_backward)(meft_ctx &lane, void *dx, float *dweights, const void *dy, const void *x,
                           const int32_t *slots, const float *weights, int64_t count, int64_t width, int32_t dtype);
};
constexpr const char *experts_names[] = {"choose",  "weights", "choose_backward",
                                         "gather", "combine", "weigh_backward"};

}  // namespace meft
