// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding, halves convention.
#include "kernels/rotary.h"

#include "core/pool.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

// With (a, b) = (x[i], x[i + half]):  a' = a*c - b*s,  b' = b*c + a*s.  The inverse is the transposed matrix, s -> -s.
template <class E>
void rotate(E *x, const float *cos, const float *sin, int64_t half, float sign) {
    each_vector(0, half, [&](int64_t i, auto lanes) {
        const vf a = load(x + i, lanes), b = load(x + half + i, lanes);
        const vf c = load(cos + i, lanes), s = mul(set1(sign), load(sin + i, lanes));
        store(x + i, fnma(b, s, mul(a, c)), lanes);
        store(x + half + i, fma(a, s, mul(b, c)), lanes);
    });
}

void rope_apply(meft_ctx &lane, Activation x, const float *cos, const float *sin, const int32_t *positions,
                int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim, bool inverse) {
    lane.ran_target = kTarget;
    const int64_t width = heads * head_dim, half = rotary_dim / 2;
    if (width == 0) return;
    const int64_t chunk = width >= 8192 ? 1 : 8192 / width;
    const float sign = inverse ? -1.f : 1.f;
    with_activation(x.dtype, [&](auto element) {
        decltype(element) *data = static_cast<decltype(element) *>(x.data);
        parallel_chunks(lane, tokens, chunk, [=](int64_t begin, int64_t end, int32_t) {
            for (int64_t t = begin; t < end; ++t) {
                const int64_t row = positions[t] * half;
                auto *at = data + t * width;
                for (int64_t h = 0; h < heads; ++h) rotate(at + h * head_dim, cos + row, sin + row, half, sign);
            }
        });
    });
}

}  // namespace

extern const rotary_kernels rotary_table;
const rotary_kernels rotary_table = {rope_apply};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
