// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

// Streams of int32, 0 to 30 fractional bits, coefficient 2^-shift of 0 to 15. Formulas stand in meft.h, which also says
// where the bits lie that a shift drops: groups of kCouplingGroup elements, in rows of kCouplingLanes.
constexpr int64_t kCouplingGroup = 512;
constexpr int kCouplingLanes = 16;
constexpr int kCouplingRows = int(kCouplingGroup) / kCouplingLanes;

// Magnitudes that fit are below this, in units of a stream: 2^31 less more than the f32 sum of two terms is off by.
constexpr float kCouplingLimit = 2147482624.f;
// More elements that do not fit are not told apart: up to here every count is a float.
constexpr float kMostMisfits = 16777216.f;

struct CouplingScale {
    int32_t fraction;
    int32_t shift;

    // Both exact in f32.
    float per_unit() const { return float(int64_t(1) << fraction); }
    float unit() const { return 1.f / per_unit(); }
};

struct coupling_kernels {
    void (*to_fixed)(meft_ctx &lane, int32_t *s, float *account, const float *x, int64_t count, int32_t fraction);
    void (*from_fixed)(meft_ctx &lane, float *x, const int32_t *s, int64_t count, int32_t fraction);
    // dropped: null when shift is 0. view: or null, may be f. y may be x.
    void (*forward)(meft_ctx &lane, int32_t *y, int32_t *dropped, float *view, float *account, const int32_t *x,
                    const float *f, int64_t count, CouplingScale scale);
    void (*inverse)(meft_ctx &lane, int32_t *x, const int32_t *y, const int32_t *dropped, const float *f, int64_t count,
                    CouplingScale scale);
};
constexpr const char *coupling_names[] = {"to_fixed", "from_fixed", "forward", "inverse"};

}  // namespace meft
