// SPDX-License-Identifier: Apache-2.0
// Checks of what every AdamW call is given.
#pragma once

#include "meft.h"

namespace meft {

// Everything but the mode. Learning rates before this step were checked when they were this step's.
void check_adamw(const meft_adamw *params, const float *lr_history);

// Of a call on rows.
void check_mode(const meft_adamw &params);

}  // namespace meft
