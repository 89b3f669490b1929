// SPDX-License-Identifier: Apache-2.0
// Four lanes of the compiler's vector extension, whatever the processor: SSE2 on x86-64.
#pragma once

#include <cmath>

#include "cpu/scalar.h"

namespace meft {
namespace MEFT_TARGET_NS {

constexpr int kLanes = 4;
constexpr int kTileVectors = 2;  // 12 sums + 2 of B + 1 of A, of 16 registers
constexpr int kDotRows = 2;      // 8 sums + 4 + 1 of 16 registers
constexpr int kSumVectors = 8;

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
inline vf zero() { return vf{0, 0, 0, 0}; }
inline vf set1(float x) { return vf{x, x, x, x}; }
inline vf load(const float *p) {
    vf x;
    std::memcpy(&x, p, 16);
    return x;
}
inline void store(float *p, vf x) { std::memcpy(p, &x, 16); }
inline vf load_first(const float *p, int n) {
    vf x = zero();
    std::memcpy(&x, p, size_t(n) * 4);
    return x;
}
inline void store_first(float *p, vf x, int n) { std::memcpy(p, &x, size_t(n) * 4); }
inline vf add(vf a, vf b) { return a + b; }
inline vf sub(vf a, vf b) { return a - b; }
inline vf mul(vf a, vf b) { return a * b; }
inline vf div(vf a, vf b) { return a / b; }
inline vf select_gt(vf a, vf b, vf x, vf y) {
    const vi m = a > b;
    return (vf)((m & (vi)x) | (~m & (vi)y));
}
inline vf max(vf a, vf b) { return select_gt(a, b, a, b); }
inline vf min(vf a, vf b) { return select_gt(b, a, a, b); }
inline vf sqrt(vf a) {
    for (int i = 0; i < 4; ++i) a[i] = std::sqrt(a[i]);
    return a;
}
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
inline vf fnma(vf a, vf b, vf c) { return c - a * b; }
inline float sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float max_of(vf a) {
    const float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}
inline vf round(vf a) {
    for (int i = 0; i < 4; ++i) a[i] = std::nearbyint(a[i]);
    return a;
}
inline vf pow2(vf n) {
    vf x;
    for (int i = 0; i < 4; ++i) x[i] = bits_float(uint32_t(int32_t(n[i]) + 127) << 23);
    return x;
}

// Copied first: a mapped file may hold its elements at any byte.
inline vf load_bf16(const uint16_t *p) {
    uint16_t h[4];
    std::memcpy(h, p, sizeof h);
    return vf{bf16_to_float(h[0]), bf16_to_float(h[1]), bf16_to_float(h[2]), bf16_to_float(h[3])};
}
inline vf load_f16(const uint16_t *p) {
    uint16_t h[4];
    std::memcpy(h, p, sizeof h);
    return vf{f16_to_float(h[0]), f16_to_float(h[1]), f16_to_float(h[2]), f16_to_float(h[3])};
}
inline vf round_bf16(vf x) {
    for (int i = 0; i < kLanes; ++i) x[i] = bf16_to_float(float_to_bf16(x[i]));
    return x;
}
inline void store_high_halves(uint16_t *p, vf x) {
    for (int i = 0; i < kLanes; ++i) p[i] = uint16_t(float_bits(x[i]) >> 16);
}
inline vf load_planes(const uint16_t *hi, const int16_t *lo) {
    vf x;
    for (int i = 0; i < 4; ++i) x[i] = join_one(hi[i], lo[i]);
    return x;
}
inline void store_planes(uint16_t *hi, int16_t *lo, vf x) {
    for (int i = 0; i < kLanes; ++i) split_one(hi + i, lo + i, x[i]);
}

inline uint32_t lanes_greater(vf a, vf b) {
    return uint32_t(a[0] > b[0]) | uint32_t(a[1] > b[1]) << 1 | uint32_t(a[2] > b[2]) << 2 | uint32_t(a[3] > b[3]) << 3;
}
inline vf lanes_from(int32_t first) { return (vf)(vi{first, first + 1, first + 2, first + 3}); }
inline void store_marked(float *out, vf x, uint32_t mask) {
    float lanes[kLanes];
    store(lanes, x);
    copy_marked(out, lanes, mask);
}

inline void transpose(vf r[4]) {
    const vf a = r[0], b = r[1], c = r[2], d = r[3];
    r[0] = vf{a[0], b[0], c[0], d[0]};
    r[1] = vf{a[1], b[1], c[1], d[1]};
    r[2] = vf{a[2], b[2], c[2], d[2]};
    r[3] = vf{a[3], b[3], c[3], d[3]};
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
