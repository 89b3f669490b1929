// SPDX-License-Identifier: Apache-2.0
// The emulation has no library of products: the tiled kernel makes all of them.
#include "cuda/cublaslt.h"

namespace meft {
namespace cuda {

bool multiply_by_cublaslt(meft_ctx &, Operands &, const Product &) { return false; }
std::string cublaslt_version() { return "none"; }
void release_products(DeviceLane &) noexcept {}

}  // namespace cuda
}  // namespace meft
