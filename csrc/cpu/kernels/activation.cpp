// SPDX-License-Identifier: Apache-2.0
// Activations, alone or as gates, elementwise. Every element is read before its place is written: in place where meft.h
// allows it.
#include "kernels/activation.h"

#include "core/pool.h"
#include "cpu/activation_element.h"
#include "cpu/activation_functions.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 13;

// y = f(x), or f(x) * up.
template <class F, class E>
void forward_of(meft_ctx &lane, F, E *y, const E *x, const E *up, int64_t count) {
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        if (up == nullptr) {
            each_vector(begin, end,
                        [=](int64_t i, auto lanes) { store(y + i, F::value(load(x + i, lanes)), lanes); });
            return;
        }
        each_vector(begin, end, [=](int64_t i, auto lanes) {
            store(y + i, mul(F::value(load(x + i, lanes)), load(up + i, lanes)), lanes);
        });
    });
}

// dx = dy * f'(x), or dy * up * f'(x) with dup = dy * f(x).
template <class F, class E>
void backward_of(meft_ctx &lane, F f, E *dx, E *dup, const E *dy, const E *x, const E *up, int64_t count) {
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        if (up == nullptr) {
            each_vector(begin, end, [=](int64_t i, auto lanes) {
                const vf d = load(dy + i, lanes);
                store(dx + i, times_slope(f, d, F::tangent(load(x + i, lanes)).slope), lanes);
            });
            return;
        }
        each_vector(begin, end, [=](int64_t i, auto lanes) {
            const vf d = load(dy + i, lanes), u = load(up + i, lanes);
            const Tangent at = F::tangent(load(x + i, lanes));
            store(dx + i, times_slope(f, mul(d, u), at.slope), lanes);
            store(dup + i, mul(d, at.value), lanes);
        });
    });
}

void forward(meft_ctx &lane, void *y, const void *x, const void *up, int64_t count, int32_t kind, int32_t dtype) {
    lane.ran_target = kTarget;
    with_activation(dtype, [&](auto element) {
        typedef decltype(element) E;
        with_function(kind, [&](auto f) {
            forward_of(lane, f, static_cast<E *>(y), static_cast<const E *>(x), static_cast<const E *>(up), count);
        });
    });
}

void backward(meft_ctx &lane, void *dx, void *dup, const void *dy, const void *x, const void *up, int64_t count,
              int32_t kind, int32_t dtype) {
    lane.ran_target = kTarget;
    with_activation(dtype, [&](auto element) {
        typedef decltype(element) E;
        with_function(kind, [&](auto f) {
            backward_of(lane, f, static_cast<E *>(dx), static_cast<E *>(dup), static_cast<const E *>(dy),
                        static_cast<const E *>(x), static_cast<const E *>(up), count);
        });
    });
}

}  // namespace

extern const activation_kernels activation_table;
const activation_kernels activation_table = {forward, backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
