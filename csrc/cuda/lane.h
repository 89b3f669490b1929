// SPDX-License-Identifier: Apache-2.0
// What a context holds besides the common part when its lane is a device: one stream, in whose order all its work runs.
#pragma once

#include <vector>

#include "core/context.h"
#include "cuda/runtime/runtime.h"
#include "kernels/kernel_table.h"

namespace meft {

struct DeviceLane {
    cudaStream_t stream = nullptr;
    void *products = nullptr;   // what products keep between calls (cublaslt.h)
    void *attention = nullptr;  // and what attention does (fused_attention.h)
};

namespace cuda {

inline cudaStream_t stream_of(const meft_ctx &lane) { return lane.device->stream; }

// The kernels of the device.
const KernelTable &kernel_table();

// The target of this library.
constexpr int32_t kTarget =
#if defined(__CUDACC__) || defined(MEFT_CUDA_DEVICE)
    MEFT_TARGET_CUDA;
#else
    MEFT_TARGET_CUDA_EMULATED;
#endif

}  // namespace cuda
}  // namespace meft
