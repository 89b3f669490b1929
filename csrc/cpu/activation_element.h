// SPDX-License-Identifier: Apache-2.0
// Elements of activations: a kernel is written once, over float or bfloat16, and computes in vectors of f32. bfloat16
// is read exactly and rounded once, to nearest even, as it is stored; subnormals are kept.
#pragma once

#include "core/activation.h"
#include "cpu/gemm_tile.h"

namespace meft {
namespace MEFT_TARGET_NS {

struct bfloat16 {
    uint16_t bits;
};

inline float value_of(float x) { return x; }
inline float value_of(bfloat16 x) { return bf16_to_float(x.bits); }
inline void set_value(float &to, float x) { to = x; }
inline void set_value(bfloat16 &to, float x) { to.bits = float_to_bf16(x); }

inline vf load(const bfloat16 *p, All) { return load_bf16(&p->bits); }
inline vf load(const bfloat16 *p, First lanes) { return load_bf16_part(&p->bits, lanes.n); }

inline void store(bfloat16 *p, vf x, All) { store_high_halves(&p->bits, round_bf16(x)); }
inline void store(bfloat16 *p, vf x, First lanes) {
    uint16_t halves[kLanes];
    store_high_halves(halves, round_bf16(x));
    std::memcpy(p, halves, size_t(lanes.n) * sizeof *p);
}

// Rows of activations as an operand of a product.
inline Matrix matrix(const bfloat16 *data, int64_t stride) { return {data, stride, MEFT_BF16}; }
inline Matrix matrix(ConstActivation x, int64_t stride) { return {x.data, stride, x.dtype}; }

// Calls body(float()) or body(bfloat16()) for MEFT_F32 or MEFT_BF16.
template <class Body>
inline void with_activation(int32_t dtype, Body &&body) {
    if (dtype == MEFT_BF16) return body(bfloat16());
    body(float());
}

// to = from, element by element, rounded once where `to` is bfloat16.
template <class To, class From>
inline void convert(To *to, const From *from, int64_t begin, int64_t end) {
    each_vector(begin, end, [=](int64_t i, auto lanes) { store(to + i, load(from + i, lanes), lanes); });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
