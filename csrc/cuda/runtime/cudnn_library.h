// SPDX-License-Identifier: Apache-2.0
// cuDNN, opened at run time through the dynamic loading of its frontend; only what was built with its headers sees this.
#pragma once

#include <cudnn_frontend.h>

#include <string>

namespace meft {
namespace cuda {

// Opened once, never closed. False when cuDNN is not there; then cudnn_missing says why.
bool cudnn_opened();
const std::string &cudnn_missing();
// "9.28.1".
std::string cudnn_version();
// cudnnSetStream: what a handle runs is in the stream's order.
cudnnStatus_t cudnn_set_stream(cudnnHandle_t handle, cudaStream_t stream);

}  // namespace cuda
}  // namespace meft
