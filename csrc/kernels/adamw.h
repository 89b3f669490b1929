// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// A split-plane matrix with its optimizer state, rows of `hidden` elements.
struct RowState {
    uint16_t *hi;
    int16_t *lo;
    float *m;
    float *v;
    int32_t *last_step;
    int64_t hidden;
};

struct adamw_kernels {
    void (*dense)(meft_ctx &lane, float *w, float *m, float *v, const float *grad, const float *lr_history,
                  int64_t count, const meft_adamw &params);
    // The gradient of row rows[i] is row i of grad.
    void (*rows)(meft_ctx &lane, const RowState &state, const float *grad, const int32_t *rows, const float *lr_history,
                 int64_t row_count, int64_t total_rows, const meft_adamw &params);
    void (*catch_up)(meft_ctx &lane, const RowState &state, const int32_t *blocks, const float *lr_history,
                     int64_t block_count, int64_t block_rows, bool all_moments, const meft_adamw &params);
};
constexpr const char *adamw_names[] = {"dense", "rows", "catch_up"};

}  // namespace meft
