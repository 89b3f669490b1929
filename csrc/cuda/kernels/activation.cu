// SPDX-License-Identifier: Apache-2.0
// ReLU and the gated activation, elementwise.
#include "cpu/kernels/activation.h"

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// y = silu(gate) * up.
__global__ void swiglu_forward_kernel(float *y, const float *gate, const float *up, int64_t count) {
    MEFT_FOR_EACH(i, count) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

// dgate and dup may be gate and up.
__global__ void swiglu_backward_kernel(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                       int64_t count) {
    MEFT_FOR_EACH(i, count) {
        const float g = gate[i], u = up[i], d = dy[i], s = sigmoid(g);
        dgate[i] = d * u * s * (1.0f + g * (1.0f - s));
        dup[i] = d * g * s;
    }
}

// A NaN stays one: fmaxf would lose it.
__global__ void relu_forward_kernel(float *y, const float *x, int64_t count) {
    MEFT_FOR_EACH(i, count) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

__global__ void relu_backward_kernel(float *dx, const float *dy, const float *y, int64_t count) {
    MEFT_FOR_EACH(i, count) dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

void swiglu_forward(meft_ctx &lane, float *y, const float *gate, const float *up, int64_t count) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(swiglu_forward_kernel, grid_of(count), kThreads, 0, on.stream, on.out(y, count), on.in(gate, count),
                    on.in(up, count), count);
    });
}

void swiglu_backward(meft_ctx &lane, float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                     int64_t count) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(swiglu_backward_kernel, grid_of(count), kThreads, 0, on.stream, on.out(dgate, count),
                    on.out(dup, count), on.in(dy, count), on.in(gate, count), on.in(up, count), count);
    });
}

void relu_forward(meft_ctx &lane, float *y, const float *x, int64_t count) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(relu_forward_kernel, grid_of(count), kThreads, 0, on.stream, on.out(y, count), on.in(x, count),
                    count);
    });
}

void relu_backward(meft_ctx &lane, float *dx, const float *dy, const float *y, int64_t count) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(relu_backward_kernel, grid_of(count), kThreads, 0, on.stream, on.out(dx, count), on.in(dy, count),
                    on.in(y, count), count);
    });
}

}  // namespace

extern const activation_kernels activation_table;
const activation_kernels activation_table = {swiglu_forward, swiglu_backward, relu_forward, relu_backward};

}  // namespace cuda
}  // namespace meft
