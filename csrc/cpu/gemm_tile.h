// SPDX-License-Identifier: Apache-2.0
// Matrix products on tiles that fit the cache: the one register micro-kernel, and the packing it wants.
//
//   C (m x n, f32) (+)= A (m x k) * B (k x n)        multiply<Compute>, Compute = F32 or Bf16 (see element.h)
//
// A is row-major and read by broadcast: where its stored type is the operand type it is used in place
// (in_place), else converted by copy_rows or, from a matrix that holds A transposed, by copy_columns.
// B is packed into panels of Compute::kPanel columns, k-major, so that the kernel reads it front to back: from rows
// that are B's columns (pack_transposed) or from rows that are B's rows (pack_normal).
//
// Layout of packed B: panel q holds columns [q*panel, q*panel + width) and begins at q * panel * padded_k(k) operands,
// with panel = Compute::kPanel. width is panel, or for the last one its columns rounded up to kLanes; lanes beyond n
// hold zero. Inside,
//   B[p][j] = panel[(p / kGroup * width + j) * kGroup + p % kGroup],  zero for k <= p < padded_k(k).
//
// Any m, n, k >= 0 (k = 0 writes zeros, or nothing when accumulating), any alignment. Nothing outside the named
// elements is read or written, but for packed B's padding. Every element of C is one chain of multiply-adds in
// increasing k, so its bits do not depend on how callers cut m and n; a cut of k rounds the sum once to f32 between.
//
// Cost: a panel (padded_k(k) * kPanel operands) wants to stay in L2 while A goes by, and kTileRows rows of A in L1: cut
// k so that kTileRows * k operands take at most half of L1.
#pragma once

#include "cpu/element.h"

namespace meft {
namespace MEFT_TARGET_NS {

constexpr int kTileRows = 6;  // rows of A at once: more row streams would overflow L1's ways when rows lie 2^n apart
// Rows of A that callers who cut m should give at once, and columns that callers give at once.
constexpr int64_t kRowBlock = kFacts.row_block;
constexpr int kPanel = kTileVectors * kLanes;

// A matrix as it lies in memory: row-major, rows `stride` elements apart.
struct Matrix {
    const void *data;
    int64_t stride;
    int32_t dtype;  // MEFT_F32, MEFT_BF16 or MEFT_F16
};

inline Matrix matrix(const float *data, int64_t stride) { return {data, stride, MEFT_F32}; }

// The part of m that begins at (row, column).
inline Matrix part(Matrix m, int64_t row, int64_t column) {
    const int64_t bytes = (row * m.stride + column) * stored_bytes(m.dtype);
    return {static_cast<const char *>(m.data) + bytes, m.stride, m.dtype};
}

inline int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

template <class Compute>
inline int64_t padded_k(int64_t k) {
    return round_up(k, Compute::kGroup);
}

// Operands of a packed B of k x n.
template <class Compute>
inline int64_t packed_count(int64_t k, int64_t n) {
    return padded_k<Compute>(k) * round_up(n, kLanes);
}

// The panel of packed B that holds column n0, a multiple of kPanel.
template <class Compute>
inline const typename Compute::operand *panel_at(const typename Compute::operand *b, int64_t k, int64_t n0) {
    return b + n0 * padded_k<Compute>(k);
}

// m's elements as operands where they need no conversion, else null. The row stride is m.stride.
template <class Compute>
inline const typename Compute::operand *in_place(Matrix m) {
    return m.dtype == Compute::kDtype ? static_cast<const typename Compute::operand *>(m.data) : nullptr;
}

// B[p][j] = x[rows ? rows[j] : j][p], for p < k and j < n: B = X^T. b: packed_count(k, n) operands, written.
template <class Compute>
void pack_transposed(typename Compute::operand *b, Matrix x, const int32_t *rows, int64_t n, int64_t k);

// B[p][j] = x[rows ? rows[p] : p][j], for p < k and j < n: B = X. b: packed_count(k, n) operands, written.
template <class Compute>
void pack_normal(typename Compute::operand *b, Matrix x, const int32_t *rows, int64_t k, int64_t n);

// A[i][p] = x[rows ? rows[i] : i][p], for i < m and p < k. a: m rows lda >= k operands apart.
template <class Compute>
void copy_rows(typename Compute::operand *a, int64_t lda, Matrix x, const int32_t *rows, int64_t m, int64_t k);

// A[i][p] = x[rows ? rows[p] : p][i], for i < m and p < k: A = X^T. a: m rows lda >= k operands apart.
template <class Compute>
void copy_columns(typename Compute::operand *a, int64_t lda, Matrix x, const int32_t *rows, int64_t m, int64_t k);

// c (m x n, rows ldc apart) = or += A * the first k rows of B; b packed for (packed_k, n), packed_k >= k.
template <class Compute>
void multiply_first(float *c, int64_t ldc, const typename Compute::operand *a, int64_t lda,
                    const typename Compute::operand *b, int64_t m, int64_t n, int64_t k, int64_t packed_k,
                    bool accumulate);

// c (m x n, rows ldc apart) = or += A * B; b packed for (k, n).
template <class Compute>
inline void multiply(float *c, int64_t ldc, const typename Compute::operand *a, int64_t lda,
                     const typename Compute::operand *b, int64_t m, int64_t n, int64_t k, bool accumulate) {
    multiply_first<Compute>(c, ldc, a, lda, b, m, n, k, k, accumulate);
}

// y[j][i] = or += x[i][j] for i < m, j < n, both f32: how a product computed transposed is put in place.
void transpose_into(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t n, bool accumulate);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
