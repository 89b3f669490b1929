// SPDX-License-Identifier: Apache-2.0
// SwiGLU and ReLU, elementwise. Every element is read before its place is written: in place where meft.h allows it.
#include "kernels/activation.h"

#include "core/pool.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 13;

// s = 1/(1 + e^-x) and 1 - s, from e = e^-|x| so that nothing overflows and neither cancels.
struct Sigmoid {
    vf s, rest;
};
inline Sigmoid sigmoid(vf x) {
    const vf e = exp(min(x, sub(zero(), x)));
    const vf large = div(set1(1.f), add(set1(1.f), e)), small = mul(e, large);
    return {select_gt(x, zero(), large, small), select_gt(x, zero(), small, large)};
}

// y = silu(g) * u,  silu(g) = g * sigmoid(g).
template <class E>
void swiglu_forward_of(meft_ctx &lane, E *y, const E *gate, const E *up, int64_t count) {
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [&](int64_t i, auto lanes) {
            const vf g = load(gate + i, lanes);
            store(y + i, mul(mul(g, sigmoid(g).s), load(up + i, lanes)), lanes);
        });
    });
}

// With s = sigmoid(g):  dgate = dy * u * s * (1 + g*(1 - s)),  dup = dy * g * s.
template <class E>
void swiglu_backward_of(meft_ctx &lane, E *dgate, E *dup, const E *dy, const E *gate, const E *up, int64_t count) {
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [&](int64_t i, auto lanes) {
            const vf g = load(gate + i, lanes), u = load(up + i, lanes), d = load(dy + i, lanes);
            const Sigmoid at = sigmoid(g);
            store(dgate + i, mul(mul(d, u), mul(at.s, fma(g, at.rest, set1(1.f)))), lanes);
            store(dup + i, mul(d, mul(g, at.s)), lanes);
        });
    });
}

void swiglu_forward(meft_ctx &lane, void *y, const void *gate, const void *up, int64_t count, int32_t dtype) {
    lane.ran_target = kTarget;
    with_activation(dtype, [&](auto element) {
        typedef decltype(element) E;
        swiglu_forward_of(lane, static_cast<E *>(y), static_cast<const E *>(gate), static_cast<const E *>(up), count);
    });
}

void swiglu_backward(meft_ctx &lane, void *dgate, void *dup, const void *dy, const void *gate, const void *up,
                     int64_t count, int32_t dtype) {
    lane.ran_target = kTarget;
    with_activation(dtype, [&](auto element) {
        typedef decltype(element) E;
        swiglu_backward_of(lane, static_cast<E *>(dgate), static_cast<E *>(dup), static_cast<const E *>(dy),
                           static_cast<const E *>(gate), static_cast<const E *>(up), count);
    });
}

// max(0, x) in this order: a NaN in x comes through on every target.
void relu_forward(meft_ctx &lane, float *y, const float *x, int64_t count) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [&](int64_t i, auto lanes) { store(y + i, max(zero(), load(x + i, lanes)), lanes); });
    });
}

void relu_backward(meft_ctx &lane, float *dx, const float *dy, const float *y, int64_t count) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [&](int64_t i, auto lanes) {
            store(dx + i, select_gt(load(y + i, lanes), zero(), load(dy + i, lanes), zero()), lanes);
        });
    });
}

}  // namespace

extern const activation_kernels activation_table;
const activation_kernels activation_table = {swiglu_forward, swiglu_backward, relu_forward, relu_backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
