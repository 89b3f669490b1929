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

constexpr uint32_t kQuietNan = 0x7fc00000u;

inline void split_one(uint16_t *hi, int16_t *lo, float x) {
    const uint32_t bits = x == x ? float_bits(x) : kQuietNan;
    *hi = uint16_t((bits + 0x8000u) >> 16);
    *lo = int16_t(uint16_t(bits));
}
inline float join_one(uint16_t hi, int16_t lo) { return bits_float((uint32_t(hi) << 16) + uint32_t(int32_t(lo))); }

#if defined(__AVX512F__)

inline void store_planes(uint16_t *hi, int16_t *lo, vf x) {
    const __m512i bits = _mm512_mask_mov_epi32(_mm512_castps_si512(x), _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                                               _mm512_set1_epi32(int32_t(kQuietNan)));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x8000)), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(hi), _mm512_cvtepi32_epi16(rounded));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(lo), _mm512_cvtepi32_epi16(bits));
}

#elif defined(__AVX2__)

// The low 16 bits of each of eight lanes.
inline __m128i low_halves(__m256i x) {
    const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0xd8);
    return _mm256_castsi256_si128(packed);
}
inline void store_planes(uint16_t *hi, int16_t *lo, vf x) {
    const __m256 canonical = _mm256_blendv_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(int32_t(kQuietNan))),
                                              _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i bits = _mm256_castps_si256(canonical);
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x8000)), 16);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(hi), low_halves(rounded));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(lo), low_halves(bits));
}

#else

inline void store_planes(uint16_t *hi, int16_t *lo, vf x) {
    for (int i = 0; i < kLanes; ++i) split_one(hi + i, lo + i, x[i]);
}

#endif

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
