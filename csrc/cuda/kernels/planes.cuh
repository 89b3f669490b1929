// SPDX-License-Identifier: Apache-2.0
// A f32 master as two planes: bits = (hi << 16) + lo. hi is the value rounded to bf16 (halves up, in magnitude), lo the
// signed remainder. Every NaN is stored as 0x7fc00000: rounding would carry some into hi = -0.
#pragma once

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

constexpr unsigned kQuietNan = 0x7fc00000u;

__device__ __forceinline__ void split_element(uint16_t *hi, int16_t *lo, float x) {
    const unsigned bits = x == x ? __float_as_uint(x) : kQuietNan;
    *hi = uint16_t((bits + 0x8000u) >> 16);
    *lo = int16_t(uint16_t(bits));
}
__device__ __forceinline__ float join_element(uint16_t hi, int16_t lo) {
    return __uint_as_float((unsigned(hi) << 16) + unsigned(int(lo)));
}

}  // namespace cuda
}  // namespace meft
