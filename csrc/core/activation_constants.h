// SPDX-License-Identifier: Apache-2.0
// Numbers of activations, the same for every backend. s is the logistic function.
#pragma once

namespace meft {

// The tail of the normal distribution: for t >= 0, P(N(0,1) > t) = e^(-t^2/2) r(t) where
//
//   r(t) = p(q) / (t + k),  q = (t - k) / (t + k),  k = kTailCentre,
//
// after Shepherd and Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < INF", 1981. p is the
// least-squares fit of the relative error over 0 <= t <= kTailEnd, where e^(-t^2/2) has left the range of f32: within
// 8e-8 of itself, and 2.6e-7 as f32 computes it.
constexpr float kTailCentre = 2.5f;
constexpr float kTailEnd = 15.f;
// p, from its highest power on; a list, since code of a device sees no arrays of the host.
#define MEFT_TAIL_POLYNOMIAL                                                                                    \
    -1.608150487e-4f, -3.158517065e-4f, 6.869366625e-4f, 2.528426005e-3f, -1.601329539e-3f, -1.638769358e-2f, \
        9.235875681e-3f, 1.319871396e-1f, -4.336920083e-1f, 7.066566348e-1f
constexpr float kNormalPeak = 0.398942280401432678f;  // 1/sqrt(2 pi)

// gelu_tanh(x) = x s(kBendScale (x + kBend x^3)): 2 sqrt(2/pi). Beyond kBentEnd s is 0 or 1, whatever the cube.
constexpr float kBendScale = 1.595769121605730711f;
constexpr float kBend = 0.044715f;
constexpr float kBentEnd = 1e6f;
// quick_gelu(x) = x s(kQuick x).
constexpr float kQuick = 1.702f;

}  // namespace meft
