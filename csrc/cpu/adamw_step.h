// SPDX-License-Identifier: Apache-2.0
// The arithmetic of one AdamW step on a vector of elements: every path (dense, rows, replay) runs this and nothing
// else, so that replaying missed steps gives the bits that taking them would have given.
#pragma once

#include "core/adam_schedule.h"
#include "cpu/simd.h"
#include "meft.h"

namespace meft {
namespace MEFT_TARGET_NS {

// A moment below the smallest normal number becomes +0. Without that m would end on a subnormal that 0.9 rounds back to
// itself, slow to compute with and never final. Done here rather than by the processor's flush mode, which
// would also change subnormal weights, and so that every target does the same.
constexpr float kSmallestNormal = 1.17549435e-38f;

// AdamFactors, in every lane.
struct AdamRates {
    vf beta1, rest1, beta2, rest2, eps;
};
inline AdamRates adam_rates(const meft_adamw &p) {
    const AdamFactors f = adam_factors(p);
    return {set1(f.beta1), set1(f.rest1), set1(f.beta2), set1(f.rest2), set1(f.eps)};
}

struct AdamElements {
    vf w, m, v;
};

inline vf magnitude(vf x) { return max(x, sub(zero(), x)); }

// Every product that meets a sum is an explicit fma, so the compiler has nothing left to contract differently
// in one caller than in another.
inline void adam_moments(AdamElements &x, vf g, const AdamRates &r) {
    const vf least = set1(kSmallestNormal);
    x.m = fma(r.beta1, x.m, mul(r.rest1, g));
    x.v = fma(r.beta2, x.v, mul(mul(r.rest2, g), g));
    x.m = select_gt(least, magnitude(x.m), zero(), x.m);  // NaN stays
    x.v = select_gt(least, x.v, zero(), x.v);
}
inline void adam_step(AdamElements &x, vf g, const AdamRates &r, const StepScalars &s) {
    adam_moments(x, g, r);
    const vf quotient = div(x.m, fma(sqrt(x.v), set1(s.bias2), r.eps));
    x.w = fnma(set1(s.rate), quotient, mul(set1(s.keep), x.w));
}

// 0 in the lanes whose weight no later step without gradient can change as long as rate stays at most `rate`, else 1.
//
// Needs weight_decay = 0 (keep = 1) and beta1*(1+1e-6) <= sqrt(beta2), eps >= 2^-60 (see finality_holds). Let m, v be
// the moments now. After k more steps |m_k| <= |m| b^k and sqrt(v_k) >= sqrt(v) c^k, with b, c the betas' rounded
// factors and b <= c <= 1, so   |m_k| / (sqrt(v_k) + eps) <= |m| / (sqrt(v) (c/b)^k + eps b^-k) <= |m| / (sqrt(v) +
// eps); bias2 >= 1 only shrinks it. (A v_k flushed to zero had sqrt(v_k) < 2^-63, which costs less than a quarter.) So
//     |update| <= rate * |m| / (sqrt(v) + eps), up to roundings of a few parts in 2^24.
// w stays when |update| <= 2^-26 |w|, less than half the gap to either neighbour of w, also just above a power of two
// and for subnormal w. 2^-27 is asked for, which leaves a factor of 2 for the roundings and the quarter above. Both
// sides of the comparison are at least the smallest normal number, so underflow cannot fake it. m = 0 leaves w as it is
// under any rate.
inline vf not_final(const AdamElements &x, float rate, vf eps) {
    const vf least = set1(kSmallestNormal), size = magnitude(x.m);
    const vf right = mul(mul(magnitude(x.w), set1(7.450580596923828125e-9f)), add(sqrt(x.v), eps));
    const vf left = max(mul(set1(rate), size), least);
    return select_gt(least, size, zero(), select_gt(right, left, zero(), set1(1.f)));
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
