// SPDX-License-Identifier: Apache-2.0
// A f32 master as two planes, for kernels: bits = (hi << 16) + lo.
//
//   hi = (bits + 0x8000) >> 16   the value rounded to bf16 (halves up, in magnitude)
//   lo = bits - (hi << 16)       the signed remainder; its 16 bits are the low 16 bits of the value
//
// Joining gives back every number, both zeros, subnormals and infinities bit for bit. Rounding carries the largest
// finite numbers into hi = infinity, as every bf16 rounding does, and lo brings them back. It would carry the NaNs from
// 0x7fff8000 into hi = -0, where kernels that read only hi would not see them: so every NaN is stored as 0x7fc00000.
#pragma once

#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

// For each_vector; the lanes beyond the first n of a loaded vector are 0.
inline vf load_planes(const uint16_t *hi, const int16_t *lo, All) { return load_planes(hi, lo); }
inline vf load_planes(const uint16_t *hi, const int16_t *lo, First lanes) {
    float x[kLanes] = {};
    for (int i = 0; i < lanes.n; ++i) x[i] = join_one(hi[i], lo[i]);
    return load(x);
}
inline void store_planes(uint16_t *hi, int16_t *lo, vf x, All) { store_planes(hi, lo, x); }
inline void store_planes(uint16_t *hi, int16_t *lo, vf x, First lanes) {
    float whole[kLanes];
    store(whole, x);
    for (int i = 0; i < lanes.n; ++i) split_one(hi + i, lo + i, whole[i]);
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
