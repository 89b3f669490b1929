// SPDX-License-Identifier: Apache-2.0
// One tensor-core step by a whole warp: d (16,8) f32 += a (16,16) bf16 * b (16,8) bf16. Real PTX from 8.0 on, emulated
// as a warp collective. With g = lane/4 and t = lane%4, each 32-bit register holds two neighbours, the first in its low
// half:
//   a[0] row g, columns 2t..   a[1] row g+8, columns 2t..   a[2] row g, columns 2t+8..   a[3] row g+8, columns 2t+8..
//   b[0] rows 2t.., column g   b[1] rows 2t+8.., column g
//   d[0..1] row g, columns 2t..   d[2..3] row g+8, columns 2t..
#pragma once

#include "cuda/launch/launch.h"

#if defined(__CUDACC__)

__device__ __forceinline__ void meft_mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else

namespace meft_emulated {

struct MmaOperands {
    float *d;
    const unsigned *a, *b;
};

inline float half_of_pair(unsigned pair, int high) { return __uint_as_float(high ? pair & 0xffff0000u : pair << 16); }

inline void resolve_mma(void *const operands[32], uint32_t) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const MmaOperands &o = *static_cast<const MmaOperands *>(operands[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int e = 0; e < 8; ++e) {
            a[g + (e / 2 & 1) * 8][t * 2 + (e / 4) * 8 + (e & 1)] = half_of_pair(o.a[e / 2], e & 1);
        }
        for (int e = 0; e < 4; ++e) b[t * 2 + (e / 2) * 8 + (e & 1)][g] = half_of_pair(o.b[e / 2], e & 1);
    }
    for (int lane = 0; lane < 32; ++lane) {
        float *d = static_cast<const MmaOperands *>(operands[lane])->d;
        for (int e = 0; e < 4; ++e) {
            const int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + (e & 1);
            float sum = 0;
            for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            d[e] += sum;
        }
    }
}

}  // namespace meft_emulated

inline void meft_mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], MEFT_HERE) {
    meft_emulated::MmaOperands operands{d, a, b};
    meft_emulated::collect(~0u, meft_emulated::Op::custom, reinterpret_cast<uintptr_t>(&operands), -1, file, line,
                           meft_emulated::resolve_mma);
}

#endif
