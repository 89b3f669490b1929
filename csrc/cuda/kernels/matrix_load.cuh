// SPDX-License-Identifier: Apache-2.0
// Four 8 x 8 matrices of bf16 from shared memory into the registers of a tensor-core step (ldmatrix). Lane l gives the
// address of row l%8 of matrix l/8, 16 bytes on a 16-byte boundary, and gets in r[i], with g = l/4 and t = l%4, of
// matrix i:  row g, columns 2t and 2t+1;  transposed:  rows 2t and 2t+1 of column g.
#pragma once

#include "cuda/launch/mma.h"

namespace meft {
namespace cuda {

#if defined(__CUDACC__)

template <bool kTransposed>
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const __nv_bfloat16 *row) {
    const unsigned address = unsigned(__cvta_generic_to_shared(row));
    if constexpr (kTransposed) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
    }
}

#else

struct MatrixOperands {
    unsigned *r;
    const uint4 *row;  // read as 16 bytes, so that a sanitizer sees a misaligned address
};

template <bool kTransposed>
void resolve_load(void *const operands[32], uint32_t) {
    uint16_t rows[32][8];
    for (int lane = 0; lane < 32; ++lane) {
        const uint4 line = *static_cast<const MatrixOperands *>(operands[lane])->row;
        std::memcpy(rows[lane], &line, sizeof line);
    }
    for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
            const unsigned low = kTransposed ? rows[8 * i + 2 * t][g] : rows[8 * i + g][2 * t];
            const unsigned high = kTransposed ? rows[8 * i + 2 * t + 1][g] : rows[8 * i + g][2 * t + 1];
            static_cast<const MatrixOperands *>(operands[lane])->r[i] = low | high << 16;
        }
    }
}

template <bool kTransposed>
void load_matrices(unsigned (&r)[4], const __nv_bfloat16 *row, MEFT_HERE) {
    MatrixOperands operands{r, reinterpret_cast<const uint4 *>(row)};
    meft_emulated::collect(~0u, meft_emulated::Op::custom, reinterpret_cast<uintptr_t>(&operands), -1, file, line,
                           resolve_load<kTransposed>);
}

#endif

// The operands of products on tiles of shared memory, rows of kStride elements, a multiple of 8.
//   a_operand:  a = tile[row .. row+16)[column .. column+16)
//   b_of_rows:  b[0], b[1] of two steps: tile rows are b's columns: b[j] = tile[row + 8j ..+8)[column ..+16)^T
//   b_of_columns:  tile rows are b's rows: b[j] = tile[row ..+16)[column + 8j ..+8)
template <int kStride>
__device__ __forceinline__ void a_operand(unsigned (&a)[4], const __nv_bfloat16 *tile, int row, int column) {
    const int lane = threadIdx.x & 31;
    load_matrices<false>(a, tile + (row + (lane & 15)) * kStride + column + (lane >> 4) * 8);
}
template <int kStride>
__device__ __forceinline__ void b_of_rows(unsigned (&b)[2][2], const __nv_bfloat16 *tile, int row, int column) {
    const int lane = threadIdx.x & 31;
    unsigned r[4];
    load_matrices<false>(r, tile + (row + (lane & 7) + (lane >> 4) * 8) * kStride + column + (lane & 8));
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}
template <int kStride>
__device__ __forceinline__ void b_of_columns(unsigned (&b)[2][2], const __nv_bfloat16 *tile, int row, int column) {
    const int lane = threadIdx.x & 31;
    unsigned r[4];
    load_matrices<true>(r, tile + (row + (lane & 15)) * kStride + column + (lane >> 4) * 8);
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    unsigned bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// Two neighbouring 16 x 8 results of products as the a operand of the next: a[..16)[..16).
__device__ __forceinline__ void as_operand(unsigned (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = bf16_pair(left[0], left[1]);
    a[1] = bf16_pair(left[2], left[3]);
    a[2] = bf16_pair(right[0], right[1]);
    a[3] = bf16_pair(right[2], right[3]);
}

}  // namespace cuda
}  // namespace meft
