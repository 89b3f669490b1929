// SPDX-License-Identifier: Apache-2.0
// The functions of meft_activation_forward and their slopes, a vector at a time: a struct each, with value(x) and
// tangent(x). NaN comes through all values.
#pragma once

#include "core/activation_constants.h"
#include "cpu/simd.h"
#include "meft.h"

namespace meft {
namespace MEFT_TARGET_NS {

// f(x) and f'(x).
struct Tangent {
    vf value, slope;
};

inline vf negated_size(vf x) { return min(x, sub(zero(), x)); }

// s = 1/(1 + e^-x) and 1 - s, from e = e^-|x| so that nothing overflows and neither cancels.
struct Sigmoid {
    vf s, rest;
};
inline Sigmoid sigmoid(vf x) {
    const vf e = exp(negated_size(x));
    const vf large = div(set1(1.f), add(set1(1.f), e)), small = mul(e, large);
    return {select_gt(x, zero(), large, small), select_gt(x, zero(), small, large)};
}

// P = P(N(0,1) <= x), and the density e^(-x^2/2)/sqrt(2 pi). Each within 5 ulp of itself, its tail included: the square
// is taken of the high half of |x|, exactly, and the rest enters e^r apart.
struct Normal {
    vf cdf, density;
};
inline Normal normal(vf x) {
    const vf t = min(set1(kTailEnd), sub(zero(), negated_size(x)));
    const vf high = round_bf16(t);
    const vf square = mul(set1(-0.5f), mul(high, high));
    const vf rest = mul(mul(set1(-0.5f), sub(t, high)), add(t, high));
    const vf n = round(mul(add(square, rest), set1(1.44269504088896341f)));
    const vf r = add(fnma(n, set1(-2.12194440e-4f), fnma(n, set1(0.693359375f), square)), rest);
    const vf e = select_gt(set1(-87.f), add(square, rest), zero(), exp_reduced(r, max(n, set1(-126.f))));
    const vf inverse = div(set1(1.f), add(t, set1(kTailCentre))), q = mul(sub(t, set1(kTailCentre)), inverse);
    const float powers[] = {MEFT_TAIL_POLYNOMIAL};
    vf p = zero();
    for (const float c : powers) p = fma(p, q, set1(c));
    const vf tail = mul(e, mul(p, inverse));
    return {select_gt(x, zero(), sub(set1(1.f), tail), tail), mul(e, set1(kNormalPeak))};
}

struct Identity {
    static vf value(vf x) { return x; }
    static Tangent tangent(vf x) { return {x, set1(1.f)}; }
};
// max(0, x) in this order: a NaN in x comes through on every target.
struct Relu {
    static vf value(vf x) { return max(zero(), x); }
    static Tangent tangent(vf x) { return {value(x), select_gt(x, zero(), set1(1.f), zero())}; }
};
struct Silu {
    static vf value(vf x) { return mul(x, sigmoid(x).s); }
    static Tangent tangent(vf x) {
        const Sigmoid at = sigmoid(x);
        return {mul(x, at.s), mul(at.s, fma(x, at.rest, set1(1.f)))};
    }
};
struct QuickGelu {
    static vf value(vf x) { return mul(x, sigmoid(mul(set1(kQuick), x)).s); }
    static Tangent tangent(vf x) {
        const vf inner = mul(set1(kQuick), x);
        const Sigmoid at = sigmoid(inner);
        return {mul(x, at.s), mul(at.s, fma(inner, at.rest, set1(1.f)))};
    }
};
struct Gelu {
    static vf value(vf x) { return mul(x, normal(x).cdf); }
    static Tangent tangent(vf x) {
        const Normal at = normal(x);
        return {mul(x, at.cdf), fma(x, at.density, at.cdf)};
    }
};
struct GeluTanh {
    // x as far as the cube matters: no power of it overflows.
    static vf near(vf x) { return min(set1(kBentEnd), max(set1(-kBentEnd), x)); }
    static vf bent(vf x) { return mul(mul(set1(kBendScale), x), fma(set1(kBend), mul(x, x), set1(1.f))); }
    static vf value(vf x) { return mul(x, sigmoid(bent(near(x))).s); }
    static Tangent tangent(vf x) {
        const vf inner = near(x), steep = mul(set1(kBendScale), fma(set1(3 * kBend), mul(inner, inner), set1(1.f)));
        const Sigmoid at = sigmoid(bent(inner));
        return {mul(x, at.s), mul(at.s, fma(mul(inner, at.rest), steep, set1(1.f)))};
    }
};
struct Tanh {
    static vf value(vf x) { return tanh(x); }
    // 1 - tanh^2 = 4e/(1 + e)^2 with e = e^-2|x|, which does not cancel.
    static Tangent tangent(vf x) {
        const vf size = negated_size(x), e = exp(add(size, size));
        const vf inverse = div(set1(2.f), add(set1(1.f), e));
        return {tanh(x), mul(mul(e, inverse), inverse)};
    }
};
struct Logistic {
    static vf value(vf x) { return sigmoid(x).s; }
    static Tangent tangent(vf x) {
        const Sigmoid at = sigmoid(x);
        return {at.s, mul(at.s, at.rest)};
    }
};

// d * f'(x). Where relu is flat nothing comes back, be it NaN.
template <class F> inline vf times_slope(F, vf d, vf slope) { return mul(d, slope); }
inline vf times_slope(Relu, vf d, vf slope) { return select_gt(slope, zero(), d, zero()); }

// Calls body with the function of a MEFT_ACTIVATION_*.
template <class Body>
inline void with_function(int32_t kind, Body &&body) {
    switch (kind) {
        case MEFT_ACTIVATION_RELU: return body(Relu());
        case MEFT_ACTIVATION_SILU: return body(Silu());
        case MEFT_ACTIVATION_GELU: return body(Gelu());
        case MEFT_ACTIVATION_GELU_TANH: return body(GeluTanh());
        case MEFT_ACTIVATION_QUICK_GELU: return body(QuickGelu());
        case MEFT_ACTIVATION_TANH: return body(Tanh());
        case MEFT_ACTIVATION_SIGMOID: return body(Logistic());
        default: return body(Identity());
    }
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
