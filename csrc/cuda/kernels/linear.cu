// SPDX-License-Identifier: Apache-2.0
// Linear layers: the three products, and biases.
#include "kernels/linear.h"

#include "cuda/cublaslt.h"
#include "cuda/kernels/product.h"

namespace meft {
namespace cuda {

namespace {

// y = x + bias.
template <class Y, class T>
__global__ void add_bias_kernel(Y *y, const float *x, const T *bias, int64_t count, int64_t width) {
    MEFT_FOR_EACH(i, count) store_element(y + i, x[i] + load_element(bias + i % width));
}

// Before a product is added to them.
__global__ void widen_kernel(float *y, const __nv_bfloat16 *x, int64_t count) {
    MEFT_FOR_EACH(i, count) y[i] = load_element(x + i);
}

// dbias (rows) += sum of dy (tokens,rows) over tokens: a block (32,8) owns 32 columns; eight sums, added in order.
template <class E>
__global__ void bias_gradient_kernel(float *dbias, const E *dy, int64_t tokens, int64_t rows) {
    __shared__ float parts[8][33];
    const int64_t column = int64_t(blockIdx.x) * 32 + threadIdx.x;
    float sum = 0;
    if (column < rows) {
        for (int64_t t = threadIdx.y; t < tokens; t += 8) sum += load_element(dy + t * rows + column);
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || column >= rows) return;
    for (int j = 1; j < 8; ++j) sum += parts[j][threadIdx.x];
    dbias[column] += sum;
}

// Activations on the device, and the same transposed.
Matrix rows_of(Operands &on, ConstActivation x, int64_t rows, int64_t cols) {
    return {on.in(x, rows * cols), x.dtype, cols, 1};
}
Matrix columns_of(Operands &on, ConstActivation x, int64_t rows, int64_t cols) {
    return {on.in(x, rows * cols), x.dtype, 1, cols};
}

Activation result_of(Operands &on, Activation y, int64_t count, bool accumulate) {
    return {accumulate ? on.inout(y, count) : on.out(y, count), y.dtype};
}

// y = x + bias, x f32; y may be x.
void launch_bias(Operands &on, Activation y, const float *x, const StoredWeight &bias, int64_t tokens) {
    const StoredWeight placed = on.weight(bias);
    const int64_t count = tokens * bias.cols;
    with_elements(placed.data, placed.dtype, [&](auto *elements) {
        with_activation(y.dtype, [&](auto element) {
            using Y = decltype(element);
            MEFT_LAUNCH((add_bias_kernel<Y, Element<decltype(elements)>>), grid_of(count), kThreads, 0, on.stream,
                        static_cast<Y *>(y.data), x, elements, count, bias.cols);
        });
    });
}

void linear_forward(meft_ctx &lane, Activation y, ConstActivation x, const StoredWeight &w, const StoredWeight &bias,
                    int64_t tokens, int32_t compute, bool accumulate) {
    const int64_t count = tokens * w.rows;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        const Activation to = result_of(on, y, count, accumulate);
        const StoredWeight weight = on.weight(w);
        const Matrix transposed = {weight.data, weight.dtype, 1, weight.stride};
        const Matrix inputs = rows_of(on, x, tokens, w.cols);
        Product product = {to, inputs, transposed, tokens, w.rows, w.cols, compute, accumulate};
        if (bias.data == nullptr) return multiply(lane, on, product);
        // In the product's own last pass where the library has that and the bias loses nothing in the result's type.
        if (w.cols > 0 && (to.dtype == MEFT_F32 || bias.dtype == to.dtype)) {
            const StoredWeight added = on.weight(bias);
            product.bias = added.data;
            product.bias_dtype = added.dtype;
            if (multiply_by_cublaslt(lane, on, product)) return;
            product.bias = nullptr;
        }
        // Else the sums take it in f32, so that they are rounded once.
        float *sums = to.dtype == MEFT_F32 ? static_cast<float *>(to.data) : on.scratch<float>(count);
        if (accumulate && to.dtype != MEFT_F32) {
            MEFT_LAUNCH(widen_kernel, grid_of(count), kThreads, 0, on.stream, sums,
                        static_cast<const __nv_bfloat16 *>(to.data), count);
        }
        product.c = {sums, MEFT_F32};
        multiply(lane, on, product);
        launch_bias(on, to, sums, bias, tokens);
    });
}

void linear_backward_data(meft_ctx &lane, Activation dx, ConstActivation dy, const StoredWeight &w, int64_t tokens,
                          int32_t compute, bool accumulate) {
    const int64_t count = tokens * w.cols;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        const Activation to = result_of(on, dx, count, accumulate);
        const StoredWeight weight = on.weight(w);
        const Matrix stored = {weight.data, weight.dtype, weight.stride, 1};
        multiply(lane, on, {to, rows_of(on, dy, tokens, w.rows), stored, tokens, w.cols, w.rows, compute, accumulate});
    });
}

void linear_backward_weight(meft_ctx &lane, float *dweight, ConstActivation dy, ConstActivation x, int64_t tokens,
                            int64_t rows, int64_t cols, int32_t compute) {
    if (tokens == 0 || rows == 0 || cols == 0) return;
    on_device(lane, [&](Operands &on) {
        const Activation to = {on.inout(dweight, rows * cols), MEFT_F32};
        multiply(
            lane, on,
            {to, columns_of(on, dy, tokens, rows), rows_of(on, x, tokens, cols), rows, cols, tokens, compute, true});
    });
}

void backward_bias(meft_ctx &lane, float *dbias, ConstActivation dy, int64_t tokens, int64_t rows) {
    if (tokens == 0 || rows == 0) return;
    on_device(lane, [&](Operands &on) {
        const void *slopes = on.in(dy, tokens * rows);
        float *to = on.inout(dbias, rows);
        with_activation(dy.dtype, [&](auto element) {
            using E = decltype(element);
            MEFT_LAUNCH(bias_gradient_kernel<E>, dim3(unsigned((rows + 31) / 32)), dim3(32, 8), 0, on.stream, to,
                        static_cast<const E *>(slopes), tokens, rows);
        });
    });
}

}  // namespace

extern const linear_kernels linear_table;
const linear_kernels linear_table = {linear_forward, linear_backward_data, linear_backward_weight,
                                     backward_bias};

}  // namespace cuda
}  // namespace meft
