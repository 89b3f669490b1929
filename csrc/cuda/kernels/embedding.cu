// SPDX-License-Identifier: Apache-2.0
// Rows of a table by id, and the sum of gradients per id.
#include "kernels/embedding.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

template <class Weight>
__global__ void embedding_forward_kernel(float *y, const int32_t *ids, const Weight *w, int64_t stride,
                                         int64_t hidden, bool accumulate) {
    const Weight *from = w + ids[blockIdx.x] * stride;
    float *to = y + int64_t(blockIdx.x) * hidden;
    for (int64_t i = threadIdx.x; i < hidden; i += kThreads) {
        to[i] = accumulate ? to[i] + load_element(from + i) : load_element(from + i);
    }
}

void forward(meft_ctx &lane, float *y, const int32_t *ids, const StoredWeight &w, int64_t tokens, bool accumulate) {
    if (tokens == 0 || w.cols == 0) return;
    on_device(lane, [&](Operands &on) {
        const StoredWeight table = on.weight(w);
        float *to = accumulate ? on.inout(y, tokens * table.cols) : on.out(y, tokens * table.cols);
        with_elements(table.data, table.dtype, [&](auto rows) {
            using Weight = std::remove_const_t<std::remove_pointer_t<decltype(rows)>>;
            MEFT_LAUNCH(embedding_forward_kernel<Weight>, dim3(unsigned(tokens)), kThreads, 0, on.stream,
                        to, on.in(ids, tokens), rows, table.stride, table.cols, accumulate);
        });
    });
}

// The block of the first token with an id adds the rows of all tokens with that id, in increasing order; a thread owns
// columns. The ids, which all blocks read, stay in cache.
__global__ void embedding_backward_kernel(float *dweight, const int32_t *ids, const float *dy, int64_t tokens,
                                          int64_t hidden) {
    const int64_t first = blockIdx.x;
    const int32_t id = ids[first];
    int earlier = 0;
    for (int64_t t = threadIdx.x; t < first; t += kThreads) earlier |= ids[t] == id;
    if (__syncthreads_or(earlier)) return;
    float *row = dweight + id * hidden;
    for (int64_t begin = first; begin < tokens; begin += kThreads) {
        const int64_t mine = begin + threadIdx.x;
        if (!__syncthreads_or(mine < tokens && ids[mine] == id)) continue;
        for (int64_t t = begin; t < min(begin + kThreads, tokens); ++t) {
            if (ids[t] != id) continue;
            for (int64_t i = threadIdx.x; i < hidden; i += kThreads) row[i] += dy[t * hidden + i];
        }
    }
}

void backward(meft_ctx &lane, float *dweight, const int32_t *ids, const float *dy, int64_t tokens, int64_t hidden) {
    if (tokens == 0 || hidden == 0) return;
    int64_t rows = 0;  // of dweight, as far as they change
    for (int64_t t = 0; t < tokens; ++t) rows = ids[t] >= rows ? int64_t(ids[t]) + 1 : rows;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(embedding_backward_kernel, dim3(unsigned(tokens)), kThreads, 0, on.stream,
                    on.inout(dweight, rows * hidden), on.in(ids, tokens), on.in(dy, tokens * hidden), tokens, hidden);
    });
}

}  // namespace

extern const embedding_kernels embedding_table;
const embedding_kernels embedding_table = {forward, backward};

}  // namespace cuda
}  // namespace meft
