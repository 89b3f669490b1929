// SPDX-License-Identifier: Apache-2.0
// Numbers of pairs as a dense matrix and back; a block a token.
#include "kernels/pairs.h"

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

namespace {

__global__ void __launch_bounds__(kThreads)
    pairs_scatter_kernel(float *out, const float *values, const int32_t *offsets, const int32_t *columns,
                         int64_t width) {
    const int64_t token = blockIdx.x;
    float *row = out + token * width;
    for (int64_t i = threadIdx.x; i < width; i += kThreads) row[i] = 0;
    __syncthreads();
    for (int32_t p = offsets[token] + int32_t(threadIdx.x); p < offsets[token + 1]; p += kThreads) {
        if (columns[p] >= 0) row[columns[p]] = values[p];
    }
}

__global__ void __launch_bounds__(kThreads)
    pairs_gather_kernel(float *out, const float *dense, const int32_t *offsets, const int32_t *columns, int64_t width) {
    const int64_t token = blockIdx.x;
    for (int32_t p = offsets[token] + int32_t(threadIdx.x); p < offsets[token + 1]; p += kThreads) {
        if (columns[p] >= 0) out[p] = dense[token * width + columns[p]];
    }
}

void scatter(meft_ctx &lane, float *out, const float *values, const int32_t *offsets, const int32_t *columns,
             int64_t tokens, int64_t width) {
    const int64_t count = offsets[tokens];
    if (tokens == 0 || width == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(pairs_scatter_kernel, dim3(unsigned(tokens)), kThreads, 0, on.stream, on.out(out, tokens * width),
                    on.in(values, count), on.in(offsets, tokens + 1), on.in(columns, count), width);
    });
}

// Other pairs keep their numbers.
void gather(meft_ctx &lane, float *out, const float *dense, const int32_t *offsets, const int32_t *columns,
            int64_t tokens, int64_t width) {
    const int64_t count = offsets[tokens];
    if (tokens == 0 || width == 0 || count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(pairs_gather_kernel, dim3(unsigned(tokens)), kThreads, 0, on.stream, on.inout(out, count),
                    on.in(dense, tokens * width), on.in(offsets, tokens + 1), on.in(columns, count), width);
    });
}

}  // namespace

extern const pairs_kernels pairs_table;
const pairs_kernels pairs_table = {scatter, gather};

}  // namespace cuda
}  // namespace meft
