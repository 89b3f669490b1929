// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding, halves convention; a thread turns one pair, or four neighbouring ones.
#include "kernels/rotary.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

// With (a, b) = (x[i], x[i + half]):  a' = a*c - b*s,  b' = b*c + a*s.  The inverse is the transposed matrix, s -> -s.
// packs: kWidth neighbours each, counted over (token, head, i < half).
template <int kWidth, class E>
__global__ void rotate_kernel(E *x, const float *cos, const float *sin, const int32_t *positions, int64_t packs,
                              int64_t heads, int64_t head_dim, int64_t half, float sign) {
    MEFT_FOR_EACH(pack, packs) {
        const int64_t head = pack * kWidth / half, i = pack * kWidth - head * half;
        const int64_t row = positions[head / heads] * half + i;
        E *at = x + head * head_dim + i;
        Floats<kWidth> a = load<kWidth>(at), b = load<kWidth>(at + half);
        const Floats<kWidth> c = load<kWidth>(cos + row), s = load<kWidth>(sin + row);
        for (int j = 0; j < kWidth; ++j) {
            const float turn = sign * s.at[j], before = a.at[j];
            a.at[j] = before * c.at[j] - b.at[j] * turn;
            b.at[j] = b.at[j] * c.at[j] + before * turn;
        }
        store(at, a);
        store(at + half, b);
    }
}

void rope_apply(meft_ctx &lane, Activation x, const float *cos, const float *sin, const int32_t *positions,
                int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim, bool inverse) {
    const int64_t half = rotary_dim / 2, count = tokens * heads * half;
    if (count == 0) return;
    int64_t rows = 0;  // of the tables, as far as they are read
    for (int64_t t = 0; t < tokens; ++t) rows = positions[t] >= rows ? int64_t(positions[t]) + 1 : rows;
    with_activation(x.dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *at = on.inout(static_cast<E *>(x.data), tokens * heads * head_dim);
            const float *c = on.in(cos, rows * half), *s = on.in(sin, rows * half);
            const int32_t *places = on.in(positions, tokens);
            const bool wide = half % 4 == 0 && head_dim % 4 == 0 && fours(at, c, s);
            const auto kernel = wide ? rotate_kernel<4, E> : rotate_kernel<1, E>;
            const int64_t packs = wide ? count / 4 : count;
            MEFT_LAUNCH(kernel, grid_of(packs), kThreads, 0, on.stream, at, c, s, places, packs, heads, head_dim, half,
                        inverse ? -1.f : 1.f);
        });
    });
}

}  // namespace

extern const rotary_kernels rotary_table;
const rotary_kernels rotary_table = {rope_apply};

}  // namespace cuda
}  // namespace meft
