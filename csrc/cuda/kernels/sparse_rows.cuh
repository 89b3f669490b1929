// SPDX-License-Identifier: Apache-2.0
// Rows that are summed with weights: keys and values as planes, or plain f32 rows; and the one sum that forward and
// backward are made of:  sum += sum over entries i, in order, of weight[i] * row(index[i]).
#pragma once

#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/planes.cuh"
#include "cuda/kernels/sparse_score.cuh"

namespace meft {
namespace cuda {

// High planes alone: bf16 rows. With kWidth 4 rows lie on 8-byte boundaries.
template <int kColumns>
struct HighRows {
    static constexpr int kWidth = kColumns;
    const uint16_t *hi;
    int64_t hidden;
    __device__ Floats<kWidth> at(int64_t row, int64_t column) const {
        Floats<kWidth> v;
        const uint16_t *p = hi + row * hidden + column;
        if constexpr (kWidth == 4) {
            const uint2 pairs = *reinterpret_cast<const uint2 *>(p);
            v.at[0] = __uint_as_float(pairs.x << 16), v.at[1] = __uint_as_float(pairs.x & 0xffff0000u);
            v.at[2] = __uint_as_float(pairs.y << 16), v.at[3] = __uint_as_float(pairs.y & 0xffff0000u);
        } else {
            v.at[0] = __uint_as_float(unsigned(*p) << 16);
        }
        return v;
    }
};

// Both planes: the f32 masters.
struct JoinedRows {
    static constexpr int kWidth = 1;
    const uint16_t *hi;
    const int16_t *lo;
    int64_t hidden;
    __device__ Floats<1> at(int64_t row, int64_t column) const {
        return {{join_element(hi[row * hidden + column], lo[row * hidden + column])}};
    }
};

template <int kColumns>
struct PlainRows {
    static constexpr int kWidth = kColumns;
    const float *data;
    int64_t hidden;
    __device__ Floats<kWidth> at(int64_t row, int64_t column) const {
        return load<kWidth>(data + row * hidden + column);
    }
};

// Calls body with the rows that `compute` reads. wide: what the rows meet may be read four at a time.
template <class Body>
void with_rows(const DevicePlanes &planes, int32_t compute, bool wide, Body &&body) {
    if (compute == MEFT_F32) return body(JoinedRows{planes.hi, planes.lo, planes.hidden});
    if (wide && planes.hidden % 4 == 0 && reinterpret_cast<uintptr_t>(planes.hi) % 8 == 0) {
        return body(HighRows<4>{planes.hi, planes.hidden});
    }
    body(HighRows<1>{planes.hi, planes.hidden});
}

template <class Rows>
__device__ __forceinline__ void add_rows(Floats<Rows::kWidth> &sum, const Rows &rows, const int32_t *index,
                                         const float *weight, int32_t first, int32_t last, int64_t column) {
#pragma unroll 4
    for (int32_t i = first; i < last; ++i) {
        const Floats<Rows::kWidth> row = rows.at(index[i], column);
        const float factor = weight[i];
        for (int j = 0; j < Rows::kWidth; ++j) sum.at[j] = __fmaf_rn(factor, row.at[j], sum.at[j]);
    }
}

}  // namespace cuda
}  // namespace meft
