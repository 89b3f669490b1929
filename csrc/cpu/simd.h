// SPDX-License-Identifier: Apache-2.0
// One vocabulary of vectors for every target. A kernel file is compiled once per target, with MEFT_TARGET_NS naming
// the namespace and the compiler's flags the instruction set; it uses only what stands here (and gemm_tile.h).
//
//   vf            a vector of kLanes floats
//   load/store    unaligned; the _part forms touch only the first n lanes (0 <= n <= kLanes), the rest read 0
//   fma(a,b,c)    a*b + c, fused where the target fuses
//   each_vector   a loop over whole vectors and the rest with one body
//   keep_range    x in a range of lanes, something else outside
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
// GCC 12 takes the "undefined" sources inside its own AVX-512 intrinsics for uninitialised variables.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#ifndef MEFT_TARGET_NS
#error "MEFT_TARGET_NS names the target's namespace"
#endif

namespace meft {
namespace MEFT_TARGET_NS {

#if defined(__AMX_BF16__)
constexpr int kTarget = 7;
#elif defined(__AVX512BF16__)
constexpr int kTarget = 4;
#elif defined(__AVX512F__)
constexpr int kTarget = 3;
#elif defined(__AVX2__)
constexpr int kTarget = 2;
#else
constexpr int kTarget = 1;
#endif

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

#if defined(__AVX512F__)

constexpr int kLanes = 16;
typedef __m512 vf;
inline vf zero() { return _mm512_setzero_ps(); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vf load(const float *p) { return _mm512_loadu_ps(p); }
inline void store(float *p, vf x) { _mm512_storeu_ps(p, x); }
inline __mmask16 first_lanes(int n) { return __mmask16((1u << n) - 1); }
#if !defined(__SANITIZE_ADDRESS__)
inline vf load_part(const float *p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void store_part(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }
#endif
inline vf add(vf a, vf b) { return _mm512_add_ps(a, b); }
inline vf sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
inline vf mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
inline vf div(vf a, vf b) { return _mm512_div_ps(a, b); }
inline vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf sqrt(vf a) { return _mm512_sqrt_ps(a); }
inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
// a > b ? x : y, per lane; false where a or b is NaN.
inline vf select_gt(vf a, vf b, vf x, vf y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
inline float sum(vf a) { return _mm512_reduce_add_ps(a); }
inline float max_of(vf a) { return _mm512_reduce_max_ps(a); }
inline vf round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n for integral n in [-126, 127].
inline vf pow2(vf n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
inline vf load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))), 16));
}
inline vf load_bf16_part(const uint16_t *p, int n) {
    uint16_t lanes[16] = {};
    std::memcpy(lanes, p, size_t(n) * 2);
    return load_bf16(lanes);
}
inline vf load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
}
// The 32-bit value (hi << 16) + lo, as float bits: a split-plane master.
inline vf load_planes(const uint16_t *hi, const int16_t *lo) {
    const __m512i high = _mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(hi))), 16);
    const __m512i low = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(lo)));
    return _mm512_castsi512_ps(_mm512_add_epi32(high, low));
}

#elif defined(__AVX2__)

constexpr int kLanes = 8;
typedef __m256 vf;
inline vf zero() { return _mm256_setzero_ps(); }
inline vf set1(float x) { return _mm256_set1_ps(x); }
inline vf load(const float *p) { return _mm256_loadu_ps(p); }
inline void store(float *p, vf x) { _mm256_storeu_ps(p, x); }
inline __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#if !defined(__SANITIZE_ADDRESS__)
inline vf load_part(const float *p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_part(float *p, vf x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x); }
#endif
inline vf add(vf a, vf b) { return _mm256_add_ps(a, b); }
inline vf sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
inline vf mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
inline vf div(vf a, vf b) { return _mm256_div_ps(a, b); }
inline vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf sqrt(vf a) { return _mm256_sqrt_ps(a); }
inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
inline vf select_gt(vf a, vf b, vf x, vf y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
inline float sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline float max_of(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline vf round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf pow2(vf n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline vf load_bf16(const uint16_t *p) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))), 16));
}
inline vf load_bf16_part(const uint16_t *p, int n) {
    uint16_t lanes[8] = {};
    std::memcpy(lanes, p, size_t(n) * 2);
    return load_bf16(lanes);
}
inline vf load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
}
inline vf load_planes(const uint16_t *hi, const int16_t *lo) {
    const __m256i high =
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(hi))), 16);
    const __m256i low = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(lo)));
    return _mm256_castsi256_ps(_mm256_add_epi32(high, low));
}

#else  // portable: four lanes of the compiler's vector extension, SSE2 on x86-64

constexpr int kLanes = 4;
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
inline vf load_part(const float *p, int n) {
    vf x = zero();
    std::memcpy(&x, p, size_t(n) * 4);
    return x;
}
inline void store_part(float *p, vf x, int n) { std::memcpy(p, &x, size_t(n) * 4); }
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
inline vf load_bf16_part(const uint16_t *p, int n) {
    uint16_t h[4] = {};
    std::memcpy(h, p, size_t(n) * 2);
    return vf{bf16_to_float(h[0]), bf16_to_float(h[1]), bf16_to_float(h[2]), bf16_to_float(h[3])};
}
inline vf load_bf16(const uint16_t *p) { return load_bf16_part(p, 4); }
inline vf load_f16(const uint16_t *p) {
    uint16_t h[4];
    std::memcpy(h, p, sizeof h);
    return vf{f16_to_float(h[0]), f16_to_float(h[1]), f16_to_float(h[2]), f16_to_float(h[3])};
}
inline vf load_planes(const uint16_t *hi, const int16_t *lo) {
    vf x;
    for (int i = 0; i < 4; ++i) x[i] = bits_float((uint32_t(hi[i]) << 16) + uint32_t(int32_t(lo[i])));
    return x;
}

#endif

#if defined(__AVX2__) && defined(__SANITIZE_ADDRESS__)
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
#endif

// e^x. Below -87.3 it is 0, above 88.7 infinity; NaN stays NaN. Cephes' polynomial, about 1 ulp.
inline vf exp(vf x) {
    const vf in_range = min(max(x, set1(-87.33654f)), set1(88.37626f));
    const vf n = round(mul(in_range, set1(1.44269504088896341f)));
    vf r = fnma(n, set1(0.693359375f), in_range);
    r = fnma(n, set1(-2.12194440e-4f), r);
    vf p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    vf y = mul(fma(mul(r, r), p, add(r, set1(1.f))), pow2(n));
    y = select_gt(set1(-87.33654f), x, zero(), y);
    y = select_gt(x, set1(88.37626f), set1(HUGE_VALF), y);
    const vf not_finite = select_gt(x, set1(-HUGE_VALF), zero(), x);  // -infinity or NaN stay
    return add(y, select_gt(set1(0.f), not_finite, zero(), not_finite));
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
