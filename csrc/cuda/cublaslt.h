// SPDX-License-Identifier: Apache-2.0
// Products by cuBLASLt, which is opened at run time (runtime/library_search.h).
#pragma once

#include <string>

#include "cuda/kernels/product.h"

namespace meft {
namespace cuda {

// With the bias of the product, if it has one. False when cuBLASLt is not there, or cannot do this product (unaligned
// rows); then nothing was done.
bool multiply_by_cublaslt(meft_ctx &lane, Operands &on, const Product &product);

// "13.1.2", or why it was not opened.
std::string cublaslt_version();

// What a lane holds for its products; given back when the lane closes.
void release_products(DeviceLane &lane) noexcept;

}  // namespace cuda
}  // namespace meft
