// SPDX-License-Identifier: Apache-2.0
// AdamW on rows of a split-plane matrix, a row at a time: for the update proper, and for a gradient pass that uses each
// row's gradient while it is in cache. Defined in kernels/adamw.cpp.
#pragma once

#include "core/adam_schedule.h"
#include "core/context.h"
#include "cpu/adamw_step.h"
#include "cpu/split_planes.h"
#include "kernels/adamw.h"

namespace meft {
namespace MEFT_TARGET_NS {

// What one call on rows knows.
struct RowsCall : AdamSchedule {
    RowState state;
    AdamRates rates;
};

// For the step of params, in which rows[0..row_count) have gradients. Works in `frame`.
RowsCall begin_rows(Workspace::Frame &frame, const RowState &state, const float *lr_history, const meft_adamw &params,
                    const int32_t *rows, int64_t row_count, int64_t total_rows);

// The row's step with its gradient, in the mode of params. next: the row that comes then, fetched meanwhile.
void step_row(const RowsCall &call, int64_t row, int64_t next, const float *grad);

// The same without a gradient, for mode DENSE. A row that took the step already stays as it is.
void step_row_without(const RowsCall &call, int64_t row);

int64_t rows_per_task(int64_t hidden);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
