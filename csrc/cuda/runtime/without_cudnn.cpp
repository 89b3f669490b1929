// SPDX-License-Identifier: Apache-2.0
// A library that was built where cuDNN's headers are not: attention is by our own kernels.
#include "cuda/fused_attention.h"

namespace meft {
namespace cuda {

bool can_fuse(meft_ctx &, const FusedShape &, Direction) { return false; }
void fused_forward(meft_ctx &, Operands &, const FusedShape &, const FusedArrays &) {}
void fused_backward(meft_ctx &, Operands &, const FusedShape &, const FusedArrays &) {}
std::string attention_provider() { return "own kernels: built without cuDNN's headers"; }
void release_attention(DeviceLane &) noexcept {}

}  // namespace cuda
}  // namespace meft
