// SPDX-License-Identifier: Apache-2.0
// oneDNN as a provider of matrix products, if its library is there.
#pragma once

#include "core/context.h"
#include "kernels/kernel_table.h"
#include "onednn/provider.h"

namespace meft {

// Finds libmeft_onednn beside libmeft, once a process. Null when it is there, else why it is not.
const char *onednn_missing();

// A target's kernels with oneDNN's matrix products.
const KernelTable *onednn_table(int32_t target);

// Whether oneDNN takes a product with a weight of this dtype: f16 and empty products are our own.
bool onednn_takes(int32_t dtype, int64_t m, int64_t n, int64_t k);

// Fails with oneDNN's own words.
void onednn_multiply(meft_ctx &lane, OnednnProduct product);

}  // namespace meft
