// SPDX-License-Identifier: Apache-2.0
// How stored elements (f32, bf16, f16) become operands of a matrix product, a vector at a time.
//
// A product is computed in one of two ways, named by a type:
//   F32   operands are floats, products summed in f32.
//   Bf16  operands are rounded to bf16 (nearest even), products summed in f32. An operand is a float that holds a bf16
//         value, which gives the same products as a target's own instructions for operands of 16 bits (Products of
//         cpu/target.h).
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
    static constexpr int32_t kDtype = MEFT_F32;
    static vf load(const type *p) { return meft::MEFT_TARGET_NS::load(p); }
    static vf load_part(const type *p, int n) { return meft::MEFT_TARGET_NS::load_part(p, n); }
};

template <>
struct Stored<MEFT_BF16> {
    typedef uint16_t type;
    static constexpr int32_t kDtype = MEFT_BF16;
    static vf load(const type *p) { return load_bf16(p); }
    static vf load_part(const type *p, int n) { return load_bf16_part(p, n); }
};

template <>
struct Stored<MEFT_F16> {
    typedef uint16_t type;
    static constexpr int32_t kDtype = MEFT_F16;
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

// ---- the two ways to compute

struct F32 {
    typedef float operand;
    static constexpr int kGroup = 1;
    static constexpr int32_t kDtype = MEFT_F32;  // stored elements that are operands as they lie
    static constexpr int64_t kPanel = kTileVectors * kLanes;  // columns of a panel of packed B, see cpu/gemm_tile.h
    static constexpr bool kInTiles = false;  // whether it multiplies by itself, by Compute::multiply

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

struct RoundedBf16 {
    typedef float operand;
    static constexpr int kGroup = 1;
    static constexpr int32_t kDtype = -1;  // no stored type is an operand as it lies
    static constexpr int64_t kPanel = kTileVectors * kLanes;
    static constexpr bool kInTiles = false;

    template <class S>
    static vf items(S, const typename S::type *p, int n) {
        if constexpr (S::kDtype == MEFT_BF16) return F32::items(S(), p, n);
        return round_bf16(F32::items(S(), p, n));
    }
    template <class S>
    static vf column_items(S, const typename S::type *p, const typename S::type *, int n) {
        return items(S(), p, n);
    }
    static vf broadcast(const operand *a) { return set1(unaligned(a)); }
    static vf broadcast_half(const operand *a) { return set1(unaligned(a)); }
    static vf multiply_add(vf a, vf b, vf c) { return fma(a, b, c); }
};

typedef Products<kTarget>::Bf16 Bf16;
static_assert((Bf16::kDtype == MEFT_BF16) == kFacts.multiplies_bf16, "as cpu/targets.def says");
static_assert(Bf16::kInTiles == kFacts.in_tiles, "as cpu/targets.def says");

// Calls body(F32()) or body(Bf16()) for MEFT_F32 or MEFT_BF16.
template <class Body>
inline void with_compute(int32_t compute, Body &&body) {
    if (compute == MEFT_BF16) return body(Bf16());
    body(F32());
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
