// SPDX-License-Identifier: Apache-2.0
// What libmeft_onednn offers libmeft: one matrix product. A library of its own, found at run time, so that libmeft
// needs neither oneDNN nor its OpenMP runtime.
#pragma once

#include <cstdint>

namespace meft {

// A matrix as stored: element (i, j) is data[i * row_stride + j * column_stride]; one of the strides is 1.
struct OnednnMatrix {
    const void *data;
    int64_t row_stride;
    int64_t column_stride;
    int32_t dtype;  // MEFT_F32 or MEFT_BF16
};

// C (m x n, f32, rows ldc apart) = or += A (m x k) * B (k x n), m, n, k > 0. Operands of another type than `compute`
// (MEFT_F32 or MEFT_BF16) are converted into scratch first.
struct OnednnProduct {
    float *c;
    int64_t ldc;
    OnednnMatrix a, b;
    int64_t m, n, k;
    int32_t compute;
    int32_t accumulate;
    int32_t threads;
};

// Bytes of a converted operand, rounded to whole cache lines; 0 when it is read as it lies.
inline int64_t onednn_copy_bytes(const OnednnMatrix &x, int64_t count, int32_t compute) {
    if (x.dtype == compute) return 0;
    return (count * (compute == 0 ? 4 : 2) + 63) / 64 * 64;
}
inline int64_t onednn_scratch_bytes(const OnednnProduct &p) {
    return onednn_copy_bytes(p.a, p.m * p.k, p.compute) + onednn_copy_bytes(p.b, p.k * p.n, p.compute);
}

// The one symbol of the library: "meft_onednn_multiply". Returns 0, or 1 with a text in error, cut at error_bytes.
typedef int32_t (*OnednnMultiply)(const OnednnProduct *product, void *scratch, char *error, int64_t error_bytes);

}  // namespace meft
