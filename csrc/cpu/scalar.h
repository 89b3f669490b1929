// SPDX-License-Identifier: Apache-2.0
// Single numbers, as vectors are made of them: bits, halves, and a f32 master as two planes (cpu/split_planes.h).
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/target.h"

namespace meft {
namespace MEFT_TARGET_NS {

inline uint32_t float_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float bits_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
inline float bf16_to_float(uint16_t x) { return bits_float(uint32_t(x) << 16); }
// Round to nearest even; NaN stays NaN.
inline uint16_t float_to_bf16(float x) {
    const uint32_t bits = float_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40);
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float f16_to_float(uint16_t h) {
    const uint32_t sign = uint32_t(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31) return bits_float(sign | 0x7f800000u | (mantissa << 13));
    if (exponent == 0) {
        const float magnitude = float(mantissa) * 5.9604644775390625e-08f;  // 2^-24
        return sign ? -magnitude : magnitude;
    }
    return bits_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

constexpr uint32_t kQuietNan = 0x7fc00000u;

inline void split_one(uint16_t *hi, int16_t *lo, float x) {
    const uint32_t bits = x == x ? float_bits(x) : kQuietNan;
    *hi = uint16_t((bits + 0x8000u) >> 16);
    *lo = int16_t(uint16_t(bits));
}
inline float join_one(uint16_t hi, int16_t lo) { return bits_float((uint32_t(hi) << 16) + uint32_t(int32_t(lo))); }

// The marked of some lanes, one written after the other: for targets that have no instruction for it.
inline void copy_marked(float *out, const float *lanes, uint32_t mask) {
    for (; mask != 0; mask &= mask - 1) std::memcpy(out++, lanes + __builtin_ctz(mask), sizeof(float));
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
