// SPDX-License-Identifier: Apache-2.0
// RMS normalisation, one row at a time. Sums run in f32 over kLanes interleaved partial sums.
#include "kernels/norm.h"

#include "core/pool.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

// Rows of one piece of work: about 16 KiB of x. Depends on the sizes alone.
int64_t rows_per_chunk(int64_t hidden) { return hidden >= 4096 ? 1 : 4096 / hidden; }

// y = x * rstd * w,  rstd = 1/sqrt(mean(x^2) + eps).
template <class Y, class X>
void forward_rows(meft_ctx &lane, Y *y, float *rstd, const X *x, const float *weight, int64_t rows, int64_t hidden,
                  float eps) {
    parallel_chunks(lane, rows, rows_per_chunk(hidden), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) {
            const X *xr = x + row * hidden;
            Y *yr = y + row * hidden;
            vf squares = zero();
            each_vector(0, hidden, [&](int64_t i, auto lanes) {
                const vf xi = load(xr + i, lanes);
                squares = fma(xi, xi, squares);
            });
            const float r = 1.f / std::sqrt(sum(squares) / float(hidden) + eps);
            rstd[row] = r;
            each_vector(0, hidden, [&](int64_t i, auto lanes) {
                store(yr + i, mul(mul(load(xr + i, lanes), set1(r)), load(weight + i, lanes)), lanes);
            });
        }
    });
}

void rmsnorm_forward(meft_ctx &lane, Activation y, float *rstd, ConstActivation x, const void *w, int32_t dtype,
                     int64_t rows, int64_t hidden, float eps) {
    lane.ran_target = kTarget;
    if (rows == 0 || hidden == 0) return;
    Workspace::Frame frame(lane.workspace);
    float *weight = frame.take<float>(hidden);
    widen(weight, w, dtype, hidden);
    with_activation(y.dtype, [&](auto out) {
        with_activation(x.dtype, [&](auto in) {
            forward_rows(lane, static_cast<decltype(out) *>(y.data), rstd, static_cast<const decltype(in) *>(x.data),
                         weight, rows, hidden, eps);
        });
    });
}

// One row of dx = rstd * (w*dy - n * mean(w*dy*n)) with n = x * rstd.
template <class E>
void row_dx(E *dx, const E *dy, const E *x, float r, const float *weight, int64_t hidden, bool accumulate) {
    vf products = zero();
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        products = fma(mul(load(weight + i, lanes), load(dy + i, lanes)), load(x + i, lanes), products);
    });
    // n * mean(w*dy*n) = x * (rstd^2 * mean(w*dy*x)).
    const vf along_x = set1(r * r * (sum(products) / float(hidden)));
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        const vf wdy = mul(load(weight + i, lanes), load(dy + i, lanes));
        const vf d = mul(set1(r), fnma(load(x + i, lanes), along_x, wdy));
        store(dx + i, accumulate ? add(load(dx + i, lanes), d) : d, lanes);
    });
}

template <class E>
void add_row_dweight(float *dweight, const E *dy, const E *x, float r, int64_t hidden) {
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        const vf n = mul(load(x + i, lanes), set1(r));
        store(dweight + i, fma(load(dy + i, lanes), n, load(dweight + i, lanes)), lanes);
    });
}

// dweight: chunks of rows have a partial sum each, added in index order, so that threads do not change a bit. At most
// 64 chunks bound that memory.
template <class E>
void backward_rows(meft_ctx &lane, E *dx, float *dweight, const E *dy, const E *x, const float *rstd,
                   const float *weight, int64_t rows, int64_t hidden, bool accumulate) {
    const int64_t small = rows_per_chunk(hidden), few = (rows + 63) / 64;
    const int64_t chunk = dweight != nullptr && few > small ? few : small;
    const int64_t chunks = (rows + chunk - 1) / chunk;
    Workspace::Frame frame(lane.workspace);
    float *partial = dweight != nullptr ? frame.take<float>(chunks * hidden) : nullptr;
    parallel_chunks(lane, rows, chunk, [=](int64_t begin, int64_t end, int32_t) {
        float *chunk_sum = partial != nullptr ? partial + begin / chunk * hidden : nullptr;
        if (chunk_sum != nullptr) std::memset(chunk_sum, 0, size_t(hidden) * 4);
        for (int64_t row = begin; row < end; ++row) {
            const int64_t at = row * hidden;
            if (chunk_sum != nullptr) add_row_dweight(chunk_sum, dy + at, x + at, rstd[row], hidden);
            row_dx(dx + at, dy + at, x + at, rstd[row], weight, hidden, accumulate);
        }
    });
    if (dweight == nullptr) return;
    for (int64_t c = 0; c < chunks; ++c) {
        each_vector(0, hidden, [&](int64_t i, auto lanes) {
            store(dweight + i, add(load(dweight + i, lanes), load(partial + c * hidden + i, lanes)), lanes);
        });
    }
}

void rmsnorm_backward(meft_ctx &lane, Activation dx, float *dweight, const void *dy, const void *x, const float *rstd,
                      const void *w, int32_t dtype, int64_t rows, int64_t hidden, bool accumulate) {
    lane.ran_target = kTarget;
    if (rows == 0 || hidden == 0) return;
    Workspace::Frame frame(lane.workspace);
    float *weight = frame.take<float>(hidden);
    widen(weight, w, dtype, hidden);
    with_activation(dx.dtype, [&](auto element) {
        typedef decltype(element) E;
        backward_rows(lane, static_cast<E *>(dx.data), dweight, static_cast<const E *>(dy), static_cast<const E *>(x),
                      rstd, weight, rows, hidden, accumulate);
    });
}

}  // namespace

extern const norm_kernels norm_table;
const norm_kernels norm_table = {rmsnorm_forward, rmsnorm_backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
