// SPDX-License-Identifier: Apache-2.0
// Vectors of int32 beside those of floats, by the compiler's vector extension: the same text for every target.
#pragma once

#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

typedef int32_t vi __attribute__((vector_size(kLanes * 4)));
typedef uint32_t vu __attribute__((vector_size(kLanes * 4)));
typedef float float_lanes __attribute__((vector_size(kLanes * 4)));

inline vi load_ints(const int32_t *p) {
    vi x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
inline void store_ints(int32_t *p, vi x) { std::memcpy(p, &x, sizeof x); }
inline vi ints(int32_t x) { return vi{} + x; }

inline vf absolute(vf x) { return (vf)((vi)x & ints(0x7fffffff)); }
// Rounded to nearest even.
inline vf to_floats(vi x) { return (vf)__builtin_convertvector(x, float_lanes); }
// x to the nearest whole number, ties to even; 0 where |x| is not below 2^31.
inline vi to_ints(vf x) {
    const vf held = select_gt(set1(2147483648.f), absolute(x), x, zero());
    return __builtin_convertvector((float_lanes)round(held), vi);
}
// Both wrap around.
inline vi wrapped_sum(vi a, vi b) { return (vi)((vu)a + (vu)b); }
inline vi wrapped_difference(vi a, vi b) { return (vi)((vu)a - (vu)b); }

// What was put into a stream: how many elements did not fit, and the bits of the largest magnitude. Those of floats that
// are not negative are in their order, NaN above all.
struct Misfits {
    vi count = {};
    vi largest = {};

    // A magnitude, and what it must be below.
    void add(vf magnitude, vf limit) {
        count += (vi)select_gt(limit, magnitude, zero(), (vf)ints(1));
        const vi bits = (vi)magnitude;
        largest = bits > largest ? bits : largest;
    }
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
