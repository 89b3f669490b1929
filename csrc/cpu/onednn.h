// SPDX-License-Identifier: Apache-2.0
// oneDNN as a provider of matrix products, if its library is there.
#pragma once

#include "core/context.h"
#include "onednn/provider.h"

namespace meft {

// Finds libmeft_onednn beside libmeft, once a process. Null when it is there, else why it is not.
const char *onednn_missing();

// Whether a product with a weight of this dtype is oneDNN's on this context; f16 and empty products are our own.
bool onednn_takes(const meft_ctx &lane, int32_t dtype, int64_t m, int64_t n, int64_t k);

// Fails with oneDNN's own words.
void onednn_multiply(meft_ctx &lane, OnednnProduct product);

}  // namespace meft
