// SPDX-License-Identifier: Apache-2.0
// The one include of every kernel file, and how such a file is written.
//
// A family of kernels (csrc/kernels/<family>.h declares its table; csrc/api checks every argument) is one file
// here:
//
//   csrc/cuda/kernels/<family>.cu
//     #include "kernels/<family>.h"
//     #include "cuda/kernel.h"
//     namespace meft { namespace cuda { namespace {
//
//     // y += x.
//     __global__ void add_kernel(float *y, const float *x, int64_t count) {
//         MEFT_FOR_EACH(i, count) y[i] += x[i];
//     }
//     void add(meft_ctx &lane, float *y, const float *x, int64_t count) {
//         if (count == 0) return;
//         on_device(lane, [&](Operands &on) {
//             MEFT_LAUNCH(add_kernel, grid_of(count), kThreads, 0, on.stream, on.inout(y, count), on.in(x, count),
//             count);
//         });
//     }
//     }  // namespace
//     extern const elementwise_kernels elementwise_table;
//     const elementwise_kernels elementwise_table = {add, sum_squares};
//     }}
//
// Its table is found by its name (kernel_table.cpp). The same text is compiled by nvcc into libmeft_cuda and by any
// C++17 compiler into libmeft_cuda_emulated, where the contract tests run it.
//
// Rules:
//  - Arguments are the caller's addresses: shadows of device memory (memory.h) or the host's own. Operands gives the
//    device's address of either: a host array is copied up before (in, inout) and down after (out, inout), in which
//    case the call returns when it is done; otherwise it returns when the work is issued. Never touch an argument's
//    elements outside a kernel; small host arrays that csrc/api has read (ids, spans, positions) come through `in` like
//    the rest.
//  - Empty sizes return before any launch. Grids are a function of sizes alone, never of the card, wherever a sum is
//    shared out; no atomics on floats; sums over rows in two stages of fixed order.
//  - Indices of elements are int64_t. Loads of 16 bytes where alignment is known, never assumed of an argument.
//  - Device code: no STL, no __shared__ declared twice under one name; f32 inside, weights through load_element.
#pragma once

#include <type_traits>
#include <vector>

#include "core/activation.h"
#include "core/guard.h"
#include "cuda/lane.h"
#include "cuda/launch/launch.h"
#include "cuda/memory.h"

namespace meft {
namespace cuda {

constexpr int kThreads = 256;           // of a block, for elementwise work
constexpr int64_t kMostBlocks = 65535;  // elementwise grids stride beyond

// for (i = this thread's first element; i < count; next stride)
#define MEFT_FOR_EACH(i, count)                                                                                     \
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, meft_stride = int64_t(gridDim.x) * blockDim.x; \
         i < (count); i += meft_stride)

// Blocks of kThreads for `count` elements (at least 1).
inline dim3 grid_of(int64_t count) {
    const int64_t blocks = (count + kThreads - 1) / kThreads;
    return dim3(unsigned(blocks < kMostBlocks ? blocks : kMostBlocks));
}

// The device's side of a call's arguments.
class Operands {
public:
    explicit Operands(meft_ctx &lane) : stream(stream_of(lane)) { lane.ran_target = kTarget; }
    ~Operands();
    Operands(const Operands &) = delete;
    Operands &operator=(const Operands &) = delete;

    const cudaStream_t stream;

    // Device addresses of count elements that the kernel reads, writes whole, or reads and writes. Null stays null.
    template <class T>
    const T *in(const T *data, int64_t count) {
        return static_cast<const T *>(place(const_cast<T *>(data), count * int64_t(sizeof(T)), true, false));
    }
    template <class T>
    T *out(T *data, int64_t count) {
        return static_cast<T *>(place(data, count * int64_t(sizeof(T)), false, true));
    }
    template <class T>
    T *inout(T *data, int64_t count) {
        return static_cast<T *>(place(data, count * int64_t(sizeof(T)), true, true));
    }
    // The same for activations of either dtype.
    const void *in(ConstActivation x, int64_t count) {
        return place(const_cast<void *>(x.data), count * activation_bytes(x.dtype), true, false);
    }
    void *out(Activation y, int64_t count) { return place(y.data, count * activation_bytes(y.dtype), false, true); }
    void *inout(Activation y, int64_t count) { return place(y.data, count * activation_bytes(y.dtype), true, true); }
    // A stored weight (core/mapping.h) with its data on the device.
    template <class Weight>
    Weight weight(const Weight &w) {
        if (w.data == nullptr || w.rows == 0 || w.cols == 0) return w;
        Weight placed = w;
        const int64_t elements = (w.rows - 1) * w.stride + w.cols;
        placed.data = place(const_cast<void *>(w.data), elements * (w.dtype == MEFT_F32 ? 4 : 2), true, false);
        return placed;
    }
    // Uninitialised device memory until the end of the call's work.
    template <class T>
    T *scratch(int64_t count) {
        return static_cast<T *>(take(count * int64_t(sizeof(T))));
    }
    // Copies host outputs down and waits for them. Called by on_device.
    void finish();

private:
    struct Piece {
        void *device;
        int64_t bytes;
        void *host;  // to copy down to, or null
    };
    void *place(void *data, int64_t bytes, bool read, bool written);
    void *take(int64_t bytes);
    std::vector<Piece> pieces_;
};

template <class Body>
void on_device(meft_ctx &lane, Body &&body) {
    Operands on(lane);
    body(on);
    on.finish();
}

// ---- device code ----

__device__ __forceinline__ float load_element(const float *p) { return *p; }
__device__ __forceinline__ float load_element(const __nv_bfloat16 *p) { return __bfloat162float(*p); }
__device__ __forceinline__ float load_element(const __half *p) { return __half2float(*p); }

__device__ __forceinline__ void store_element(float *p, float v) { *p = v; }
__device__ __forceinline__ void store_element(__nv_bfloat16 *p, float v) { *p = __float2bfloat16(v); }

// The type that a pointer to elements points to: launches name a template's arguments.
template <class Pointer>
using Element = typename std::remove_const<typename std::remove_pointer<Pointer>::type>::type;

// Calls body(first element) with the weight's elements in their own type.
template <class Body>
void with_elements(const void *data, int32_t dtype, Body &&body) {
    if (dtype == MEFT_BF16) return body(static_cast<const __nv_bfloat16 *>(data));
    if (dtype == MEFT_F16) return body(static_cast<const __half *>(data));
    body(static_cast<const float *>(data));
}

// Calls body(an element) with a value of the activations' type.
template <class Body>
void with_activation(int32_t dtype, Body &&body) {
    if (dtype == MEFT_BF16) return body(__nv_bfloat16());
    body(float());
}

__device__ __forceinline__ float warp_sum(float v) {
    for (int by = 16; by > 0; by >>= 1) v += __shfl_xor_sync(0xffffffffu, v, by);
    return v;
}
__device__ __forceinline__ double warp_sum(double v) {
    for (int by = 16; by > 0; by >>= 1) v += __shfl_xor_sync(0xffffffffu, v, by);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
    for (int by = 16; by > 0; by >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, by));
    return v;
}

// Sum over the whole block of a multiple of 32 threads, the same in every thread. parts: 32 elements, __shared__.
template <class T>
__device__ __forceinline__ T block_sum(T v, T *parts) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = int(blockDim.x) >> 5;
    v = warp_sum(v);
    if (lane == 0) parts[warp] = v;
    __syncthreads();
    v = warp_sum(lane < warps ? parts[lane] : T(0));
    __syncthreads();  // parts may serve again
    return v;
}

}  // namespace cuda
}  // namespace meft
