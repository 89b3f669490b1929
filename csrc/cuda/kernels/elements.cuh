// SPDX-License-Identifier: Apache-2.0
// Neighbouring elements, four at once where the arrays allow it.
#pragma once

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

// kWidth neighbours of a f32 array. With 4 they lie on a 16-byte boundary and travel in one access.
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

// Whether every one of the device's arrays lies on a 16-byte boundary. Rows: their length must be a multiple of 4 too.
template <class... Arrays>
bool fours(Arrays... arrays) {
    return ((reinterpret_cast<uintptr_t>(arrays) % 16 == 0) && ...);
}

inline unsigned blocks_for(int64_t count, int64_t each) { return unsigned((count + each - 1) / each); }

}  // namespace cuda
}  // namespace meft
