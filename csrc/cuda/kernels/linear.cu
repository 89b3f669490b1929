// SPDX-License-Identifier: Apache-2.0
// Linear layers: the three products, and biases.
#include "cpu/kernels/linear.h"

#include "cuda/cublaslt.h"
#include "cuda/kernels/product.h"

namespace meft {
namespace cuda {

namespace {

template <class T>
__global__ void add_bias_kernel(float *y, const T *bias, int64_t count, int64_t width) {
    MEFT_FOR_EACH(i, count) y[i] += load_element(bias + i % width);
}

// dbias (rows) += sum of dy (tokens,rows) over tokens: a block (32,8) owns 32 columns; eight sums, added in order.
__global__ void bias_gradient_kernel(float *dbias, const float *dy, int64_t tokens, int64_t rows) {
    __shared__ float parts[8][33];
    const int64_t column = int64_t(blockIdx.x) * 32 + threadIdx.x;
    float sum = 0;
    if (column < rows) {
        for (int64_t t = threadIdx.y; t < tokens; t += 8) sum += dy[t * rows + column];
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || column >= rows) return;
    for (int j = 1; j < 8; ++j) sum += parts[j][threadIdx.x];
    dbias[column] += sum;
}

Matrix rows_of(const float *x, int64_t cols) { return {x, MEFT_F32, cols, 1}; }
Matrix columns_of(const float *x, int64_t cols) { return {x, MEFT_F32, 1, cols}; }

void launch_bias(Operands &on, float *y, const StoredWeight &bias, int64_t tokens) {
    const StoredWeight placed = on.weight(bias);
    const int64_t count = tokens * bias.cols;
    with_elements(placed.data, placed.dtype, [&](auto *elements) {
        MEFT_LAUNCH(add_bias_kernel<Element<decltype(elements)>>, grid_of(count), kThreads, 0, on.stream, y, elements,
                    count, bias.cols);
    });
}

void linear_forward(meft_ctx &lane, float *y, const float *x, const StoredWeight &w, const StoredWeight &bias,
                    int64_t tokens, int32_t compute, bool accumulate) {
    const int64_t count = tokens * w.rows;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        float *to = accumulate ? on.inout(y, count) : on.out(y, count);
        const StoredWeight weight = on.weight(w);
        const Matrix transposed = {weight.data, weight.dtype, 1, weight.stride};
        Product product = {to,     rows_of(on.in(x, tokens * w.cols), w.cols), transposed, tokens, w.rows, w.cols,
                           compute, accumulate};
        if (bias.data == nullptr) return multiply(lane, on, product);
        // In the product's own last pass where the library has that, else in one of our own.
        const StoredWeight added = on.weight(bias);
        product.bias = added.data;
        product.bias_dtype = added.dtype;
        if (w.cols > 0 && multiply_by_cublaslt(lane, on, product)) return;
        multiply(lane, on, product);
        launch_bias(on, to, bias, tokens);
    });
}

void linear_backward_data(meft_ctx &lane, float *dx, const float *dy, const StoredWeight &w, int64_t tokens,
                          int32_t compute, bool accumulate) {
    const int64_t count = tokens * w.cols;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        float *to = accumulate ? on.inout(dx, count) : on.out(dx, count);
        const StoredWeight weight = on.weight(w);
        const Matrix stored = {weight.data, weight.dtype, weight.stride, 1};
        multiply(
            lane, on,
            {to, rows_of(on.in(dy, tokens * w.rows), w.rows), stored, tokens, w.cols, w.rows, compute, accumulate});
    });
}

void linear_backward_weight(meft_ctx &lane, float *dweight, const float *dy, const float *x, int64_t tokens,
                            int64_t rows, int64_t cols, int32_t compute) {
    if (tokens == 0 || rows == 0 || cols == 0) return;
    on_device(lane, [&](Operands &on) {
        multiply(lane, on,
                 {on.inout(dweight, rows * cols), columns_of(on.in(dy, tokens * rows), rows),
                  rows_of(on.in(x, tokens * cols), cols), rows, cols, tokens, compute, true});
    });
}

void add_bias(meft_ctx &lane, float *y, const StoredWeight &bias, int64_t tokens) {
    if (tokens == 0 || bias.cols == 0) return;
    on_device(lane, [&](Operands &on) { launch_bias(on, on.inout(y, tokens * bias.cols), bias, tokens); });
}

void backward_bias(meft_ctx &lane, float *dbias, const float *dy, int64_t tokens, int64_t rows) {
    if (tokens == 0 || rows == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(bias_gradient_kernel, dim3(unsigned((rows + 31) / 32)), dim3(32, 8), 0, on.stream,
                    on.inout(dbias, rows), on.in(dy, tokens * rows), tokens, rows);
    });
}

}  // namespace

extern const linear_kernels linear_table;
const linear_kernels linear_table = {linear_forward, linear_backward_data, linear_backward_weight, add_bias,
                                     backward_bias};

}  // namespace cuda
}  // namespace meft
