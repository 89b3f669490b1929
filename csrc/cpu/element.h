// SPDX-License-Identifier: Apache-2.0
// How stored elements (f32, bf16, f16) become operands of a matrix product, a vector at a time.
//
// A product is computed in one of two ways, named by a type:
//   F32   operands are floats, products summed in f32.
//   Bf16  operands are rounded to bf16 (nearest even), products summed in f32. With AVX512_BF16 an operand is a 16-bit
//         value and one instruction multiplies pairs (k, k+1) of them; elsewhere it is a float that holds a bf16 value,
//         which gives the same products. AVX512_BF16 also flushes subnormals, in inputs and sums.
//
// The unit of packing is an *item*: 32 bits, holding kGroup consecutive operands along k (1 float, or 2 bf16).
#pragma once

#include "cpu/simd.h"
#include "meft.h"

namespace meft {
namespace MEFT_TARGET_NS {

// ---- stored elements as floats: load reads kLanes elements, load_part the first n (the rest read 0)

template <int32_t dtype>
struct Stored;

template <>
struct Stored<MEFT_F32> {
    typedef float type;
    static vf load(const type *p) { return meft::MEFT_TARGET_NS::load(p); }
    static vf load_part(const type *p, int n) { return meft::MEFT_TARGET_NS::load_part(p, n); }
};

template <>
struct Stored<MEFT_BF16> {
    typedef uint16_t type;
    static vf load(const type *p) { return load_bf16(p); }
    static vf load_part(const type *p, int n) { return load_bf16_part(p, n); }
};

template <>
struct Stored<MEFT_F16> {
    typedef uint16_t type;
    static vf load(const type *p) { return load_f16(p); }
    static vf load_part(const type *p, int n) {
        type lanes[kLanes] = {};
        std::memcpy(lanes, p, size_t(n) * sizeof(type));
        return load_f16(lanes);
    }
};

// Calls body(Stored<dtype>()), so that the loops inside are compiled for one stored type.
template <class Body>
inline void with_stored(int32_t dtype, Body &&body) {
    if (dtype == MEFT_F32) return body(Stored<MEFT_F32>());
    if (dtype == MEFT_BF16) return body(Stored<MEFT_BF16>());
    body(Stored<MEFT_F16>());
}

// *p, where p may lie at any byte: mapped files align nothing.
template <class T>
inline T unaligned(const T *p) {
    T x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

inline int64_t stored_bytes(int32_t dtype) { return dtype == MEFT_F32 ? 4 : 2; }

// ---- rounding

// x rounded to the nearest bf16 value, ties to even; NaN stays NaN.
#if defined(__AVX512F__)
inline vf round_bf16(vf x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __m512 cut = _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(int32_t(0xffff0000))));
    return _mm512_mask_mov_ps(cut, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}
#elif defined(__AVX2__)
inline vf round_bf16(vf x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256 cut = _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(int32_t(0xffff0000))));
    return _mm256_blendv_ps(cut, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
#else
inline vf round_bf16(vf x) {
    for (int i = 0; i < kLanes; ++i) x[i] = bf16_to_float(float_to_bf16(x[i]));
    return x;
}
#endif

// ---- the two ways to compute

struct F32 {
    typedef float operand;
    static constexpr int kGroup = 1;
    static constexpr int32_t kDtype = MEFT_F32;  // stored elements that are operands as they lie

    // kLanes items of one row, from p on, of which n elements may be read.
    template <class S>
    static vf items(S, const typename S::type *p, int n) {
        return n >= kLanes ? S::load(p) : S::load_part(p, n);
    }
    // One item of each of kLanes columns, from kGroup rows of which the second may be null (reads 0).
    template <class S>
    static vf column_items(S, const typename S::type *p, const typename S::type *, int n) {
        return items(S(), p, n);
    }
    static vf broadcast(const operand *a) { return set1(unaligned(a)); }
    static vf broadcast_half(const operand *a) { return set1(unaligned(a)); }
    static vf multiply_add(vf a, vf b, vf c) { return fma(a, b, c); }
};

#if defined(__AVX512BF16__)

struct Bf16 {
    typedef uint16_t operand;
    static constexpr int kGroup = 2;
    static constexpr int32_t kDtype = MEFT_BF16;

    template <class S>
    static vf items(S, const typename S::type *p, int n) {
        if (n < kLanes) return pairs(S::load_part(p, n), zero());
        if (n < 2 * kLanes) return pairs(S::load(p), S::load_part(p + kLanes, n - kLanes));
        return pairs(S::load(p), S::load(p + kLanes));
    }
    static vf items(Stored<MEFT_BF16>, const uint16_t *p, int n) {
        if (n >= 2 * kLanes) return _mm512_castsi512_ps(_mm512_loadu_si512(p));
        return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16((__mmask32(1) << n) - 1, p));
    }
    template <class S>
    static vf column_items(S, const typename S::type *p, const typename S::type *q, int n) {
        const bool whole = n >= kLanes;
        const __m256i even = narrow(whole ? S::load(p) : S::load_part(p, n));
        const __m256i odd = q == nullptr ? _mm256_setzero_si256() : narrow(whole ? S::load(q) : S::load_part(q, n));
        return interleave(even, odd);
    }
    static vf column_items(Stored<MEFT_BF16>, const uint16_t *p, const uint16_t *q, int n) {
        const __mmask16 mask = n >= kLanes ? __mmask16(0xffff) : first_lanes(n);
        const __m256i odd = q == nullptr ? _mm256_setzero_si256() : _mm256_maskz_loadu_epi16(mask, q);
        return interleave(_mm256_maskz_loadu_epi16(mask, p), odd);
    }
    static vf broadcast(const operand *a) {
        int32_t pair;
        std::memcpy(&pair, a, 4);
        return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
    }
    static vf broadcast_half(const operand *a) { return _mm512_castsi512_ps(_mm512_set1_epi32(unaligned(a))); }
    static vf multiply_add(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

private:
    static vf pairs(vf low, vf high) { return (vf)_mm512_cvtne2ps_pbh(high, low); }
    static __m256i narrow(vf x) { return (__m256i)_mm512_cvtneps_pbh(x); }
    static vf interleave(__m256i even, __m256i odd) {
        return _mm512_castsi512_ps(
            _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16)));
    }
};

#else

struct Bf16 {
    typedef float operand;
    static constexpr int kGroup = 1;
    static constexpr int32_t kDtype = -1;  // no stored type is an operand as it lies

    template <class S>
    static vf items(S, const typename S::type *p, int n) {
        return round_bf16(F32::items(S(), p, n));
    }
    static vf items(Stored<MEFT_BF16>, const uint16_t *p, int n) { return F32::items(Stored<MEFT_BF16>(), p, n); }
    template <class S>
    static vf column_items(S, const typename S::type *p, const typename S::type *, int n) {
        return items(S(), p, n);
    }
    static vf broadcast(const operand *a) { return set1(unaligned(a)); }
    static vf broadcast_half(const operand *a) { return set1(unaligned(a)); }
    static vf multiply_add(vf a, vf b, vf c) { return fma(a, b, c); }
};

#endif

// Calls body(F32()) or body(Bf16()) for MEFT_F32 or MEFT_BF16.
template <class Body>
inline void with_compute(int32_t compute, Body &&body) {
    if (compute == MEFT_BF16) return body(Bf16());
    body(F32());
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
