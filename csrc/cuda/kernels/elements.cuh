// SPDX-License-Identifier: Apache-2.0
// Neighbouring elements as floats, four at once where the arrays allow it.
#pragma once

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

// kWidth neighbours of an array of f32 or bf16. With 4 they lie on a boundary of their joint size, and travel in one
// access.
template <int kWidth>
struct Floats {
    float at[kWidth];
};

template <int kWidth>
__device__ __forceinline__ Floats<kWidth> load(const float *p) {
    Floats<kWidth> v;
    if constexpr (kWidth == 4) {
        const float4 q = *reinterpret_cast<const float4 *>(p);
        v.at[0] = q.x, v.at[1] = q.y, v.at[2] = q.z, v.at[3] = q.w;
    } else {
        v.at[0] = *p;
    }
    return v;
}

template <int kWidth>
__device__ __forceinline__ void store(float *p, const Floats<kWidth> &v) {
    if constexpr (kWidth == 4) {
        *reinterpret_cast<float4 *>(p) = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
    } else {
        *p = v.at[0];
    }
}

template <int kWidth>
__device__ __forceinline__ Floats<kWidth> load(const __nv_bfloat16 *p) {
    Floats<kWidth> v;
    if constexpr (kWidth == 4) {
        const uint2 q = *reinterpret_cast<const uint2 *>(p);
        v.at[0] = __uint_as_float(q.x << 16), v.at[1] = __uint_as_float(q.x & 0xffff0000u);
        v.at[2] = __uint_as_float(q.y << 16), v.at[3] = __uint_as_float(q.y & 0xffff0000u);
    } else {
        v.at[0] = load_element(p);
    }
    return v;
}

template <int kWidth>
__device__ __forceinline__ void store(__nv_bfloat16 *p, const Floats<kWidth> &v) {
    if constexpr (kWidth == 4) {
        const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(v.at[0], v.at[1]),
                                         __floats2bfloat162_rn(v.at[2], v.at[3])};
        uint2 q;
        memcpy(&q, pairs, sizeof q);
        *reinterpret_cast<uint2 *>(p) = q;
    } else {
        store_element(p, v.at[0]);
    }
}

// Whether every one of the device's arrays lies on a 16-byte boundary. Rows: their length must be a multiple of 4 too.
template <class... Arrays>
bool fours(Arrays... arrays) {
    return ((reinterpret_cast<uintptr_t>(arrays) % 16 == 0) && ...);
}

inline unsigned blocks_for(int64_t count, int64_t each) { return unsigned((count + each - 1) / each); }

}  // namespace cuda
}  // namespace meft
