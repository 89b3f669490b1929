// SPDX-License-Identifier: Apache-2.0
// Sums of arrays, and sums of their squares in an order that depends on the count alone.
#include "kernels/elementwise.h"

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

namespace {

constexpr int64_t kChunk = 1 << 14;  // elements a block sums

template <class E>
__global__ void add_kernel(E *y, const E *x, int64_t count) {
    MEFT_FOR_EACH(i, count) store_element(y + i, load_element(y + i) + load_element(x + i));
}

void add_arrays(meft_ctx &lane, void *y, const void *x, int64_t count, int32_t dtype) {
    if (count == 0) return;
    with_activation(dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            MEFT_LAUNCH(add_kernel<E>, grid_of(count), kThreads, 0, on.stream, on.inout(static_cast<E *>(y), count),
                        on.in(static_cast<const E *>(x), count), count);
        });
    });
}

__global__ void scaled_add_kernel(float *y, const float *x, int64_t count, float factor) {
    MEFT_FOR_EACH(i, count) y[i] = factor * y[i] + x[i];
}

void scaled_add(meft_ctx &lane, float *y, const float *x, int64_t count, float factor) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(scaled_add_kernel, grid_of(count), kThreads, 0, on.stream, on.inout(y, count), on.in(x, count),
                    count, factor);
    });
}

__global__ void scale_kernel(float *x, int64_t count, float factor) { MEFT_FOR_EACH(i, count) x[i] *= factor; }

void scale_array(meft_ctx &lane, float *x, int64_t count, float factor) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(scale_kernel, grid_of(count), kThreads, 0, on.stream, on.inout(x, count), count, factor);
    });
}

__global__ void softcap_kernel(float *x, int64_t count, float cap) {
    MEFT_FOR_EACH(i, count) x[i] = cap * tanhf(x[i] / cap);
}

void softcap_array(meft_ctx &lane, float *x, int64_t count, float cap) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(softcap_kernel, grid_of(count), kThreads, 0, on.stream, on.inout(x, count), count, cap);
    });
}

// partial[b] = sum of squares of chunk b, in f64.
__global__ void square_chunks_kernel(double *partial, const float *x, int64_t count) {
    __shared__ double parts[32];
    const int64_t begin = int64_t(blockIdx.x) * kChunk, end = min(begin + kChunk, count);
    double sum = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) sum += double(x[i]) * double(x[i]);
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// out[0] = sum of count partial sums; one block.
__global__ void sum_partials_kernel(double *out, const double *partial, int64_t count) {
    __shared__ double parts[32];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) out[0] = sum;
}

double sum_squares(meft_ctx &lane, const float *x, int64_t count) {
    double total = 0;
    if (count == 0) return total;
    on_device(lane, [&](Operands &on) {
        const int64_t chunks = (count + kChunk - 1) / kChunk;
        double *partial = on.scratch<double>(chunks);
        MEFT_LAUNCH(square_chunks_kernel, dim3(unsigned(chunks)), kThreads, 0, on.stream, partial, on.in(x, count),
                    count);
        MEFT_LAUNCH(sum_partials_kernel, 1, kThreads, 0, on.stream, on.out(&total, 1), partial, chunks);
    });
    return total;
}

}  // namespace

extern const elementwise_kernels elementwise_table;
const elementwise_kernels elementwise_table = {add_arrays, scaled_add, scale_array, softcap_array, sum_squares};

}  // namespace cuda
}  // namespace meft
