// SPDX-License-Identifier: Apache-2.0
// Four lanes of NEON, which every 64-bit ARM processor has.
#pragma once

#include <arm_neon.h>

#include "cpu/scalar.h"

namespace meft {
namespace MEFT_TARGET_NS {

constexpr int kLanes = 4;
constexpr int kTileVectors = 4;  // 24 sums + 4 of B + 1 of A, of 32 registers
constexpr int kDotRows = 6;      // 4 tokens x 6 rows: 24 sums + 4 + 1 of 32 registers
constexpr int kSumVectors = 16;

typedef float32x4_t vf;
inline vf zero() { return vdupq_n_f32(0); }
inline vf set1(float x) { return vdupq_n_f32(x); }
// Copied: a mapped file may hold its elements at any byte.
inline vf load(const float *p) {
    vf x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
inline void store(float *p, vf x) { std::memcpy(p, &x, sizeof x); }
inline vf load_first(const float *p, int n) {
    vf x = zero();
    std::memcpy(&x, p, size_t(n) * 4);
    return x;
}
inline void store_first(float *p, vf x, int n) { std::memcpy(p, &x, size_t(n) * 4); }
inline vf add(vf a, vf b) { return vaddq_f32(a, b); }
inline vf sub(vf a, vf b) { return vsubq_f32(a, b); }
inline vf mul(vf a, vf b) { return vmulq_f32(a, b); }
inline vf div(vf a, vf b) { return vdivq_f32(a, b); }
inline vf select_gt(vf a, vf b, vf x, vf y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }
// NaN as on every other target: the second where one of the two is NaN.
inline vf max(vf a, vf b) { return select_gt(a, b, a, b); }
inline vf min(vf a, vf b) { return select_gt(b, a, a, b); }
inline vf sqrt(vf a) { return vsqrtq_f32(a); }
inline vf fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
inline vf fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
inline float sum(vf a) {
    const float32x2_t s = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}
inline float max_of(vf a) {
    const vf s = max(a, vextq_f32(a, a, 2));
    const float x = vgetq_lane_f32(s, 0), y = vgetq_lane_f32(s, 1);
    return x > y ? x : y;
}
inline vf round(vf a) { return vrndnq_f32(a); }
inline vf pow2(vf n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}

inline uint16x4_t load_halves(const void *p) {
    uint16x4_t h;
    std::memcpy(&h, p, sizeof h);
    return h;
}
inline void store_halves(void *p, uint16x4_t h) { std::memcpy(p, &h, sizeof h); }
inline vf load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(load_halves(p), 16)); }
inline vf load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p))); }
inline vf round_bf16(vf x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    const vf cut = vreinterpretq_f32_u32(vandq_u32(up, vdupq_n_u32(0xffff0000u)));
    return vbslq_f32(vceqq_f32(x, x), cut, x);
}
inline void store_high_halves(uint16_t *p, vf x) { store_halves(p, vshrn_n_u32(vreinterpretq_u32_f32(x), 16)); }
inline vf load_planes(const uint16_t *hi, const int16_t *lo) {
    const int32x4_t low = vmovl_s16(vreinterpret_s16_u16(load_halves(lo)));
    return vreinterpretq_f32_u32(vaddq_u32(vshll_n_u16(load_halves(hi), 16), vreinterpretq_u32_s32(low)));
}
inline void store_planes(uint16_t *hi, int16_t *lo, vf x) {
    const uint32x4_t bits = vbslq_u32(vceqq_f32(x, x), vreinterpretq_u32_f32(x), vdupq_n_u32(kQuietNan));
    store_halves(hi, vshrn_n_u32(vaddq_u32(bits, vdupq_n_u32(0x8000)), 16));
    store_halves(lo, vmovn_u32(bits));
}

inline uint32_t lanes_greater(vf a, vf b) {
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgtq_f32(a, b), bit));
}
inline vf lanes_from(int32_t first) {
    const int32x4_t lane = {0, 1, 2, 3};
    return vreinterpretq_f32_s32(vaddq_s32(vdupq_n_s32(first), lane));
}
inline void store_marked(float *out, vf x, uint32_t mask) {
    float lanes[kLanes];
    store(lanes, x);
    copy_marked(out, lanes, mask);
}

inline void transpose(vf r[4]) {
    const vf a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
    const vf c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);
    const auto low = [](vf x, vf y) {
        return vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
    };
    const auto high = [](vf x, vf y) {
        return vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
    };
    r[0] = low(a, c);
    r[1] = low(b, d);
    r[2] = high(a, c);
    r[3] = high(b, d);
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
