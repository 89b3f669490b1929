// SPDX-License-Identifier: Apache-2.0
// ReLU and the gated activation, elementwise.
#include "kernels/activation.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// y = silu(gate) * up.
template <int kWidth, class E>
__global__ void swiglu_forward_kernel(E *y, const E *gate, const E *up, int64_t packs) {
    MEFT_FOR_EACH(pack, packs) {
        const int64_t i = pack * kWidth;
        const Floats<kWidth> g = load<kWidth>(gate + i), u = load<kWidth>(up + i);
        Floats<kWidth> product;
        for (int j = 0; j < kWidth; ++j) product.at[j] = g.at[j] * sigmoid(g.at[j]) * u.at[j];
        store(y + i, product);
    }
}

// dgate and dup may be gate and up.
template <int kWidth, class E>
__global__ void swiglu_backward_kernel(E *dgate, E *dup, const E *dy, const E *gate, const E *up, int64_t packs) {
    MEFT_FOR_EACH(pack, packs) {
        const int64_t i = pack * kWidth;
        const Floats<kWidth> d = load<kWidth>(dy + i);
        Floats<kWidth> g = load<kWidth>(gate + i), u = load<kWidth>(up + i);
        for (int j = 0; j < kWidth; ++j) {
            const float s = sigmoid(g.at[j]), slope = d.at[j] * u.at[j] * s * (1.0f + g.at[j] * (1.0f - s));
            u.at[j] = d.at[j] * g.at[j] * s;
            g.at[j] = slope;
        }
        store(dgate + i, g);
        store(dup + i, u);
    }
}

// A NaN stays one: fmaxf would lose it.
__global__ void relu_forward_kernel(float *y, const float *x, int64_t count) {
    MEFT_FOR_EACH(i, count) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

__global__ void relu_backward_kernel(float *dx, const float *dy, const float *y, int64_t count) {
    MEFT_FOR_EACH(i, count) dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

void swiglu_forward(meft_ctx &lane, void *y, const void *gate, const void *up, int64_t count, int32_t dtype) {
    if (count == 0) return;
    with_activation(dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to = on.out(static_cast<E *>(y), count);
            const E *g = on.in(static_cast<const E *>(gate), count), *u = on.in(static_cast<const E *>(up), count);
            const bool wide = count % 4 == 0 && fours(to, g, u);
            const auto kernel = wide ? swiglu_forward_kernel<4, E> : swiglu_forward_kernel<1, E>;
            const int64_t packs = wide ? count / 4 : count;
            MEFT_LAUNCH(kernel, grid_of(packs), kThreads, 0, on.stream, to, g, u, packs);
        });
    });
}

void swiglu_backward(meft_ctx &lane, void *dgate, void *dup, const void *dy, const void *gate, const void *up,
                     int64_t count, int32_t dtype) {
    if (count == 0) return;
    with_activation(dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to_gate = on.out(static_cast<E *>(dgate), count), *to_up = on.out(static_cast<E *>(dup), count);
            const E *d = on.in(static_cast<const E *>(dy), count), *g = on.in(static_cast<const E *>(gate), count);
            const E *u = on.in(static_cast<const E *>(up), count);
            const bool wide = count % 4 == 0 && fours(to_gate, to_up, d, g, u);
            const auto kernel = wide ? swiglu_backward_kernel<4, E> : swiglu_backward_kernel<1, E>;
            const int64_t packs = wide ? count / 4 : count;
            MEFT_LAUNCH(kernel, grid_of(packs), kThreads, 0, on.stream, to_gate, to_up, d, g, u, packs);
        });
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
