// SPDX-License-Identifier: Apache-2.0
// The functions of meft_activation_forward at a point: a struct each, made of x, that gives f(x) and multiplies by it
// and by its slope.
#pragma once

#include "core/activation_constants.h"
#include "cuda/kernel.h"

namespace meft {
namespace cuda {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// P = P(N(0,1) <= x), and the density e^(-x^2/2)/sqrt(2 pi). The square is taken of the high half of |x|, exactly.
struct Normal {
    float cdf, density;
};
__device__ __forceinline__ Normal normal(float x) {
    const float t = fabsf(x) > kTailEnd ? kTailEnd : fabsf(x);  // a NaN stays one
    const float high = __uint_as_float(__float_as_uint(t) & 0xffff0000u);
    const float e = expf(-0.5f * (high * high)) * expf(-0.5f * (t - high) * (t + high));
    const float inverse = 1.0f / (t + kTailCentre), q = (t - kTailCentre) * inverse;
    const float powers[] = {MEFT_TAIL_POLYNOMIAL};
    float p = 0.0f;
    for (const float c : powers) p = p * q + c;
    const float tail = e * (p * inverse);
    return {x > 0.0f ? 1.0f - tail : tail, e * kNormalPeak};
}

// What of x has a value and a slope as numbers.
struct Point {
    float value, slope;
    __device__ float times_value(float d) const { return d * value; }
    __device__ float times_slope(float d) const { return d * slope; }
};

struct Identity : Point {
    __device__ explicit Identity(float x) : Point{x, 1.0f} {}
};
// A NaN stays one, which fmaxf would lose. Where relu is flat nothing comes back, be it NaN.
struct Relu : Point {
    __device__ explicit Relu(float x) : Point{x <= 0.0f ? 0.0f : x, x > 0.0f ? 1.0f : 0.0f} {}
    __device__ float times_slope(float d) const { return slope > 0.0f ? d : 0.0f; }
};
// Each product in the order of its factors.
struct Silu {
    float x, s, value;
    __device__ explicit Silu(float at) : x(at), s(sigmoid(at)), value(at * s) {}
    __device__ float times_value(float d) const { return d * x * s; }
    __device__ float times_slope(float d) const { return d * s * (1.0f + x * (1.0f - s)); }
};
struct QuickGelu : Point {
    __device__ explicit QuickGelu(float x) {
        const float s = sigmoid(kQuick * x), rest = sigmoid(-kQuick * x);
        value = x * s, slope = s * (1.0f + kQuick * x * rest);
    }
};
struct Gelu : Point {
    __device__ explicit Gelu(float x) {
        const Normal at = normal(x);
        value = x * at.cdf, slope = at.cdf + x * at.density;
    }
};
struct GeluTanh : Point {
    __device__ explicit GeluTanh(float x) {
        // x as far as the cube matters: no power of it overflows, and a NaN stays one.
        const float near = x > kBentEnd ? kBentEnd : x < -kBentEnd ? -kBentEnd : x, square = near * near;
        const float bent = kBendScale * near * (1.0f + kBend * square), s = sigmoid(bent), rest = sigmoid(-bent);
        value = x * s, slope = s * (1.0f + near * rest * (kBendScale * (1.0f + 3.0f * kBend * square)));
    }
};
// 1 - tanh^2 = 4e/(1 + e)^2 with e = e^-2|x|, which does not cancel.
struct Tanh : Point {
    __device__ explicit Tanh(float x) {
        const float e = expf(-2.0f * fabsf(x)), inverse = 2.0f / (1.0f + e);
        value = tanhf(x), slope = e * inverse * inverse;
    }
};
struct Logistic : Point {
    __device__ explicit Logistic(float x) {
        value = sigmoid(x), slope = value * sigmoid(-x);
    }
};

// A function by its type: launches name a template's arguments.
template <class F>
struct Kind {
    typedef F type;
};

// Calls body with the Kind of a MEFT_ACTIVATION_*.
template <class Body>
void with_function(int32_t kind, Body &&body) {
    switch (kind) {
        case MEFT_ACTIVATION_RELU: return body(Kind<Relu>());
        case MEFT_ACTIVATION_SILU: return body(Kind<Silu>());
        case MEFT_ACTIVATION_GELU: return body(Kind<Gelu>());
        case MEFT_ACTIVATION_GELU_TANH: return body(Kind<GeluTanh>());
        case MEFT_ACTIVATION_QUICK_GELU: return body(Kind<QuickGelu>());
        case MEFT_ACTIVATION_TANH: return body(Kind<Tanh>());
        case MEFT_ACTIVATION_SIGMOID: return body(Kind<Logistic>());
        default: return body(Kind<Identity>());
    }
}

}  // namespace cuda
}  // namespace meft
