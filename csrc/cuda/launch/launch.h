// SPDX-License-Identifier: Apache-2.0
// One kernel text, two machines: a CUDA device under nvcc, fibers on the CPU under a plain C++17 compiler.
//
// Kernels use CUDA's own words. Two things are spelled differently: MEFT_LAUNCH for <<<>>>, and MEFT_SHARED_DYNAMIC for
// extern __shared__. Emulated, blocks run in parallel on a few threads of the process (-DMEFT_EMULATED_SERIAL: on one,
// so that AddressSanitizer also guards static __shared__ arrays, which it cannot where they are thread_local). Found,
// with kernel, block and source line: a thread that exits or waits elsewhere than its partners, lanes of one mask at
// different collectives, a shuffle from a lane outside the mask, an impossible launch, dynamic shared memory beyond
// 48 KB without meft_allow_shared, an overflown stack. Not found: races between blocks, orders of memory, speed.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace meft {
namespace cuda {
// Throws when a launch was refused; with MEFT_CUDA_SYNC=1 waits for the kernel and names the one that failed.
void check_launch(const char *kernel, cudaStream_t stream);
}  // namespace cuda
}  // namespace meft

#define MEFT_SHARED_DYNAMIC(T, name)                              \
    extern __shared__ __align__(16) unsigned char meft_dynamic[]; \
    T *name = reinterpret_cast<T *>(meft_dynamic)
#define MEFT_LAUNCH(kernel, grid, block, bytes, stream, ...)           \
    do {                                                               \
        (kernel)<<<(grid), (block), (bytes), (stream)>>>(__VA_ARGS__); \
        ::meft::cuda::check_launch(#kernel, (stream));                 \
    } while (0)
// Before a launch with more than 48 KB of dynamic shared memory.
template <class Kernel>
void meft_allow_shared(Kernel *kernel, size_t bytes) {
    cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         int(bytes));
}

#else
#include "cuda/launch/emulated.h"
#endif
