// SPDX-License-Identifier: Apache-2.0
// Activations, alone or as gates, elementwise. Every element is read before its place is written.
#include "kernels/activation.h"

#include "cuda/kernels/activation_functions.cuh"
#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

// y = f(x), or f(x) * up where there is one.
template <int kWidth, class F, class E>
__global__ void activation_forward_kernel(E *y, const E *x, const E *up, int64_t packs) {
    MEFT_FOR_EACH(pack, packs) {
        const int64_t i = pack * kWidth;
        Floats<kWidth> v = load<kWidth>(x + i);
        if (up == nullptr) {
            for (int j = 0; j < kWidth; ++j) v.at[j] = F(v.at[j]).value;
        } else {
            const Floats<kWidth> u = load<kWidth>(up + i);
            for (int j = 0; j < kWidth; ++j) v.at[j] = F(v.at[j]).value * u.at[j];
        }
        store(y + i, v);
    }
}

template <int kWidth, class F, class E>
__global__ void activation_backward_kernel(E *dx, E *dup, const E *dy, const E *x, const E *up, int64_t packs) {
    MEFT_FOR_EACH(pack, packs) {
        const int64_t i = pack * kWidth;
        const Floats<kWidth> d = load<kWidth>(dy + i);
        Floats<kWidth> v = load<kWidth>(x + i);
        if (up == nullptr) {
            for (int j = 0; j < kWidth; ++j) v.at[j] = F(v.at[j]).times_slope(d.at[j]);
        } else {
            Floats<kWidth> u = load<kWidth>(up + i);
            for (int j = 0; j < kWidth; ++j) {
                const F at(v.at[j]);
                v.at[j] = at.times_slope(d.at[j] * u.at[j]);
                u.at[j] = at.times_value(d.at[j]);
            }
            store(dup + i, u);
        }
        store(dx + i, v);
    }
}

void forward(meft_ctx &lane, void *y, const void *x, const void *up, int64_t count, int32_t kind, int32_t dtype) {
    if (count == 0) return;
    with_activation(dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to = on.out(static_cast<E *>(y), count);
            const E *from = on.in(static_cast<const E *>(x), count), *u = on.in(static_cast<const E *>(up), count);
            const bool wide = count % 4 == 0 && fours(to, from, u);
            const int64_t packs = wide ? count / 4 : count;
            with_function(kind, [&](auto function) {
                using F = typename decltype(function)::type;
                const auto kernel = wide ? activation_forward_kernel<4, F, E> : activation_forward_kernel<1, F, E>;
                MEFT_LAUNCH(kernel, grid_of(packs), kThreads, 0, on.stream, to, from, u, packs);
            });
        });
    });
}

void backward(meft_ctx &lane, void *dx, void *dup, const void *dy, const void *x, const void *up, int64_t count,
              int32_t kind, int32_t dtype) {
    if (count == 0) return;
    with_activation(dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to = on.out(static_cast<E *>(dx), count), *to_up = on.out(static_cast<E *>(dup), count);
            const E *d = on.in(static_cast<const E *>(dy), count), *from = on.in(static_cast<const E *>(x), count);
            const E *u = on.in(static_cast<const E *>(up), count);
            const bool wide = count % 4 == 0 && fours(to, to_up, d, from, u);
            const int64_t packs = wide ? count / 4 : count;
            with_function(kind, [&](auto function) {
                using F = typename decltype(function)::type;
                const auto kernel = wide ? activation_backward_kernel<4, F, E> : activation_backward_kernel<1, F, E>;
                MEFT_LAUNCH(kernel, grid_of(packs), kThreads, 0, on.stream, to, to_up, d, from, u, packs);
            });
        });
    });
}

}  // namespace

extern const activation_kernels activation_table;
const activation_kernels activation_table = {forward, backward};

}  // namespace cuda
}  // namespace meft
