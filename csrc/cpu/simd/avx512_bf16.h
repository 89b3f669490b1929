// SPDX-License-Identifier: Apache-2.0
// AVX-512 with products of bf16 (AVX512_BF16): one instruction multiplies pairs (k, k+1) of 16-bit operands. It flushes
// subnormals, in operands and sums.
#pragma once

#include "cpu/simd/avx512.h"

namespace meft {
namespace MEFT_TARGET_NS {

struct PairedBf16 {
    typedef uint16_t operand;
    static constexpr int kGroup = 2;
    static constexpr int32_t kDtype = MEFT_BF16;
    static constexpr int64_t kPanel = kTileVectors * kLanes;
    static constexpr bool kInTiles = false;

    template <class S>
    static vf items(S, const typename S::type *p, int n) {
        if constexpr (S::kDtype == MEFT_BF16) {
            if (n >= 2 * kLanes) return _mm512_castsi512_ps(_mm512_loadu_si512(p));
            return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16((__mmask32(1) << n) - 1, p));
        }
        if (n < kLanes) return pairs(S::load_part(p, n), zero());
        if (n < 2 * kLanes) return pairs(S::load(p), S::load_part(p + kLanes, n - kLanes));
        return pairs(S::load(p), S::load(p + kLanes));
    }
    template <class S>
    static vf column_items(S, const typename S::type *p, const typename S::type *q, int n) {
        if constexpr (S::kDtype == MEFT_BF16) {
            const __mmask16 mask = n >= kLanes ? __mmask16(0xffff) : first_lanes(n);
            const __m256i odd = q == nullptr ? _mm256_setzero_si256() : _mm256_maskz_loadu_epi16(mask, q);
            return interleave(_mm256_maskz_loadu_epi16(mask, p), odd);
        }
        const bool whole = n >= kLanes;
        const __m256i even = narrow(whole ? S::load(p) : S::load_part(p, n));
        const __m256i odd = q == nullptr ? _mm256_setzero_si256() : narrow(whole ? S::load(q) : S::load_part(q, n));
        return interleave(even, odd);
    }
    static vf broadcast(const operand *a) {
        int32_t pair;
        std::memcpy(&pair, a, 4);
        return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
    }
    static vf broadcast_half(const operand *a) {
        operand last;
        std::memcpy(&last, a, sizeof last);
        return _mm512_castsi512_ps(_mm512_set1_epi32(last));
    }
    static vf multiply_add(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

private:
    static vf pairs(vf low, vf high) { return (vf)_mm512_cvtne2ps_pbh(high, low); }
    static __m256i narrow(vf x) { return (__m256i)_mm512_cvtneps_pbh(x); }
    static vf interleave(__m256i even, __m256i odd) {
        return _mm512_castsi512_ps(
            _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16)));
    }
};

template <>
struct Products<MEFT_TARGET_AVX512_BF16> : Products<MEFT_TARGET_AVX512> {
    typedef PairedBf16 Bf16;
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
