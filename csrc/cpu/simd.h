// SPDX-License-Identifier: Apache-2.0
// One vocabulary of vectors for every target. A kernel file is compiled once per target; it uses only what stands here,
// in cpu/element.h and in cpu/gemm_tile.h.
//
//   vf            a vector of kLanes floats
//   load/store    unaligned; the _part forms touch only the first n lanes (0 <= n <= kLanes), the rest read 0
//   fma(a,b,c)    a*b + c, fused where the target fuses; fnma(a,b,c) c - a*b
//   each_vector   a loop over whole vectors and the rest with one body
//   keep_range    x in a range of lanes, something else outside
//
// A target's file defines, besides vf, zero, set1, load, store and the arithmetic:
//   kTileVectors, kDotRows, kSumVectors   sizes of register tiles: of products (vectors of a row of C), of products of
//                                         few tokens (rows of the weight), of sums over pairs (vectors)
//   load_first, store_first               what the _part forms are made of
//   select_gt(a,b,x,y)                    a > b ? x : y, per lane; false where a or b is NaN
//   round, pow2                           to the nearest integral number; 2^n for integral n in [-126, 127]
//   load_bf16, load_f16                   kLanes halves, at any byte
//   round_bf16                            x rounded to the nearest bf16 value, ties to even; NaN stays NaN
//   store_high_halves                     the high halves of floats that hold bf16 values
//   load_planes, store_planes             a split-plane master, see cpu/split_planes.h
//   lanes_greater                         a mask whose bit i stands for lane i: those where a > b
//   lanes_from(first)                     32-bit lanes first, first + 1, ..
//   store_marked                          the marked lanes of x one after the other; kLanes of room are needed
//   transpose                             kLanes x kLanes 32-bit items in registers
// and, where it multiplies in a way of its own, Products (cpu/target.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/scalar.h"
#include "cpu/target.h"

#define MEFT_QUOTED(path) #path
#define MEFT_PATH(path) MEFT_QUOTED(path)
#include MEFT_PATH(cpu/simd/MEFT_TARGET_NS.h)
#undef MEFT_PATH
#undef MEFT_QUOTED

namespace meft {
namespace MEFT_TARGET_NS {

static_assert(kLanes == kFacts.lanes && kTileVectors * kLanes == kFacts.panel, "as cpu/targets.def says");

#if defined(__SANITIZE_ADDRESS__)
// AddressSanitizer does not look at masked loads and stores: its build copies parts, so that an overrun shows.
inline vf load_part(const float *p, int n) {
    float lanes[kLanes] = {};
    std::memcpy(lanes, p, size_t(n) * 4);
    return load(lanes);
}
inline void store_part(float *p, vf x, int n) {
    float lanes[kLanes];
    store(lanes, x);
    std::memcpy(p, lanes, size_t(n) * 4);
}
#else
inline vf load_part(const float *p, int n) { return load_first(p, n); }
inline void store_part(float *p, vf x, int n) { store_first(p, x, n); }
#endif

inline vf load_bf16_part(const uint16_t *p, int n) {
    uint16_t lanes[kLanes] = {};
    std::memcpy(lanes, p, size_t(n) * 2);
    return load_bf16(lanes);
}

// e^r 2^n for |r| up to ln(2)/2. Cephes' polynomial, about 1 ulp.
inline vf exp_reduced(vf r, vf n) {
    vf p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    return mul(fma(mul(r, r), p, add(r, set1(1.f))), pow2(n));
}

// e^x. Below -87.3 it is 0, above 88.7 infinity; NaN stays NaN.
inline vf exp(vf x) {
    const vf in_range = min(max(x, set1(-87.33654f)), set1(88.37626f));
    const vf n = round(mul(in_range, set1(1.44269504088896341f)));
    vf r = fnma(n, set1(0.693359375f), in_range);
    r = fnma(n, set1(-2.12194440e-4f), r);
    vf y = exp_reduced(r, n);
    y = select_gt(set1(-87.33654f), x, zero(), y);
    y = select_gt(x, set1(88.37626f), set1(HUGE_VALF), y);
    const vf not_finite = select_gt(x, set1(-HUGE_VALF), zero(), x);  // -infinity or NaN stay
    return add(y, select_gt(set1(0.f), not_finite, zero(), not_finite));
}

// tanh x within 2 ulp; NaN stays NaN. Cephes' polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel.
inline vf tanh(vf x) {
    const vf z = mul(x, x);
    vf p = set1(-5.70498872745e-3f);
    p = fma(p, z, set1(2.06390887954e-2f));
    p = fma(p, z, set1(-5.37397155531e-2f));
    p = fma(p, z, set1(1.33314422036e-1f));
    p = fma(p, z, set1(-3.33332819422e-1f));
    const vf near = fma(mul(p, z), x, x);
    const vf size = select_gt(zero(), x, sub(zero(), x), x);
    const vf far = sub(set1(1.f), div(set1(2.f), add(exp(add(size, size)), set1(1.f))));
    return select_gt(set1(0.625f), size, near, select_gt(zero(), x, sub(zero(), far), far));
}

// x in lanes first <= i < end, other elsewhere; first and end may lie outside of the vector.
inline vf keep_range(vf x, int first, int end, vf other) {
    static const float kIndex[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vf lane = load(kIndex);
    return select_gt(set1(float(first)), lane, other, select_gt(set1(float(end)), lane, x, other));
}

// Whole vectors and the rest of an array by one loop body: body(i, lanes) with lanes either All or First.
struct All {};
struct First {
    int n;
};
inline vf load(const float *p, All) { return load(p); }
inline vf load(const float *p, First lanes) { return load_part(p, lanes.n); }
inline void store(float *p, vf x, All) { store(p, x); }
inline void store(float *p, vf x, First lanes) { store_part(p, x, lanes.n); }
template <class Body> inline void each_vector(int64_t begin, int64_t end, Body &&body) {
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) body(i, All{});
    if (i < end) body(i, First{int(end - i)});
}

// The nearest f32 of `count` stored numbers of a dtype (MEFT_F32, MEFT_BF16, MEFT_F16); exact for all three.
inline void widen(float *out, const void *from, int32_t dtype, int64_t count) {
    if (dtype == 0) {
        if (count > 0) std::memcpy(out, from, size_t(count) * 4);
        return;
    }
    const uint16_t *half = static_cast<const uint16_t *>(from);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(out + i, dtype == 1 ? load_bf16(half + i) : load_f16(half + i));
    for (uint16_t h; i < count; ++i) {
        std::memcpy(&h, half + i, sizeof h);  // at any byte, in a mapped file
        out[i] = dtype == 1 ? bf16_to_float(h) : f16_to_float(h);
    }
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
