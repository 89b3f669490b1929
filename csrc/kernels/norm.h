// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/context.h"
#include "core/mapping.h"

namespace meft {

// What a norm multiplies by and adds: vectors, bias.data null for none.
struct NormWeights {
    StoredWeight weight;
    StoredWeight bias;
};

// dweight and dbias are null where nothing is wanted. Formulas: meft.h.
struct norm_kernels {
    void (*forward)(meft_ctx &lane, void *y, float *stats, const void *x, const NormWeights &w,
                    const meft_norm &params);
    void (*backward)(meft_ctx &lane, void *dx, float *dweight, float *dbias, const void *dy, const void *x,
                     const float *stats, const StoredWeight &weight, const meft_norm &params);
};
constexpr const char *norm_names[] = {"forward", "backward"};

}  // namespace meft
