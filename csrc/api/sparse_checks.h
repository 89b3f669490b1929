// SPDX-License-Identifier: Apache-2.0
// Checks of what every call of the sparse adapter is given.
#pragma once

#include "meft.h"

namespace meft {

// Sizes and modes. Tokens, neurons and pairs are numbered by int32.
void check_sparse(const meft_sparse *params);

}  // namespace meft
