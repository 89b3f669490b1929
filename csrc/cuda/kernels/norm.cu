// SPDX-License-Identifier: Apache-2.0
// RMS normalisation, one block a row; the second pass over a row finds it in cache. Sums in f32.
#include "kernels/norm.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

// y = x * rstd * w,  rstd = 1/sqrt(mean(x^2) + eps).
template <int kWidth, class Y, class X, class Weight>
__global__ void __launch_bounds__(kThreads)
    rmsnorm_forward_kernel(Y *y, float *rstd, const X *x, const Weight *w, int64_t hidden, float eps) {
    __shared__ float parts[32];
    const int64_t row = int64_t(blockIdx.x) * hidden;
    float squares = 0;
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + row + i);
        for (int j = 0; j < kWidth; ++j) squares += v.at[j] * v.at[j];
    }
    const float r = 1.f / sqrtf(block_sum(squares, parts) / float(hidden) + eps);
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        Floats<kWidth> v = load<kWidth>(x + row + i);
        for (int j = 0; j < kWidth; ++j) v.at[j] = v.at[j] * r * load_element(w + i + j);
        store(y + row + i, v);
    }
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;
}

template <class Y, class X>
void forward_rows(Operands &on, Y *y, float *rstd, const X *x, const StoredWeight &w, int64_t rows, float eps) {
    const bool wide = w.cols % 4 == 0 && fours(y, x);
    with_elements(w.data, w.dtype, [&](auto weight) {
        using Weight = Element<decltype(weight)>;
        const auto kernel = wide ? rmsnorm_forward_kernel<4, Y, X, Weight> : rmsnorm_forward_kernel<1, Y, X, Weight>;
        MEFT_LAUNCH(kernel, dim3(unsigned(rows)), kThreads, 0, on.stream, y, rstd, x, weight, w.cols, eps);
    });
}

void rmsnorm_forward(meft_ctx &lane, Activation y, float *rstd, ConstActivation x, const void *w, int32_t dtype,
                     int64_t rows, int64_t hidden, float eps) {
    if (rows == 0 || hidden == 0) return;
    const int64_t count = rows * hidden;
    on_device(lane, [&](Operands &on) {
        const StoredWeight weight = on.weight(StoredWeight{w, 1, hidden, hidden, dtype});
        void *to = on.out(y, count);
        const void *from = on.in(x, count);
        float *scale = on.out(rstd, rows);
        with_activation(y.dtype, [&](auto out) {
            with_activation(x.dtype, [&](auto in) {
                forward_rows(on, static_cast<decltype(out) *>(to), scale, static_cast<const decltype(in) *>(from),
                             weight, rows, eps);
            });
        });
    });
}

// dx = rstd * (w*dy - n * mean(w*dy*n)) with n = x * rstd, written or accumulated.
template <int kWidth, class E, class Weight>
__global__ void __launch_bounds__(kThreads) rmsnorm_backward_kernel(E *dx, const E *dy, const E *x, const float *rstd,
                                                                    const Weight *w, int64_t hidden, bool accumulate) {
    __shared__ float parts[32];
    const int64_t row = int64_t(blockIdx.x) * hidden;
    const float r = rstd[blockIdx.x];
    float products = 0;
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + row + i), d = load<kWidth>(dy + row + i);
        for (int j = 0; j < kWidth; ++j) products += load_element(w + i + j) * d.at[j] * v.at[j];
    }
    // n * mean(w*dy*n) = x * (rstd^2 * mean(w*dy*x)).
    const float along_x = r * r * (block_sum(products, parts) / float(hidden));
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + row + i), d = load<kWidth>(dy + row + i);
        Floats<kWidth> out = {};
        if (accumulate) out = load<kWidth>(dx + row + i);
        for (int j = 0; j < kWidth; ++j) out.at[j] += r * (load_element(w + i + j) * d.at[j] - v.at[j] * along_x);
        store(dx + row + i, out);
    }
}

// partial[c] = sum over the rows of chunk c of dy * n, a thread a column.
template <class E>
__global__ void __launch_bounds__(kThreads)
    rmsnorm_dweight_kernel(float *partial, const E *dy, const E *x, const float *rstd, int64_t rows, int64_t hidden,
                           int64_t chunk) {
    const int64_t column = int64_t(blockIdx.x) * kThreads + threadIdx.x, begin = blockIdx.y * chunk;
    if (column >= hidden) return;
    float sum = 0;
    for (int64_t row = begin; row < min(begin + chunk, rows); ++row) {
        const int64_t at = row * hidden + column;
        sum += load_element(dy + at) * (load_element(x + at) * rstd[row]);
    }
    partial[blockIdx.y * hidden + column] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_partials_kernel(float *dweight, const float *partial, int64_t chunks, int64_t hidden) {
    const int64_t column = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (column >= hidden) return;
    float sum = dweight[column];
    for (int64_t c = 0; c < chunks; ++c) sum += partial[c * hidden + column];
    dweight[column] = sum;
}

// Chunks of rows, at most 64, have a partial sum each; they are added in order.
template <class E>
void add_dweight(Operands &on, float *dweight, const E *dy, const E *x, const float *rstd, int64_t rows,
                 int64_t hidden) {
    const int64_t chunk = rows > 64 * 16 ? (rows + 63) / 64 : 16, chunks = (rows + chunk - 1) / chunk;
    float *partial = on.scratch<float>(chunks * hidden);
    const unsigned across = blocks_for(hidden, kThreads);
    MEFT_LAUNCH(rmsnorm_dweight_kernel<E>, dim3(across, unsigned(chunks)), kThreads, 0, on.stream, partial, dy, x, rstd,
                rows, hidden, chunk);
    MEFT_LAUNCH(add_partials_kernel, dim3(across), kThreads, 0, on.stream, on.inout(dweight, hidden), partial, chunks,
                hidden);
}

template <class E>
void backward_rows(Operands &on, E *dx, float *dweight, const E *dy, const E *x, const float *rstd,
                   const StoredWeight &w, int64_t rows, bool accumulate) {
    if (dweight != nullptr) add_dweight(on, dweight, dy, x, rstd, rows, w.cols);
    const bool wide = w.cols % 4 == 0 && fours(dx, dy, x);
    with_elements(w.data, w.dtype, [&](auto weight) {
        using Weight = Element<decltype(weight)>;
        const auto kernel = wide ? rmsnorm_backward_kernel<4, E, Weight> : rmsnorm_backward_kernel<1, E, Weight>;
        MEFT_LAUNCH(kernel, dim3(unsigned(rows)), kThreads, 0, on.stream, dx, dy, x, rstd, weight, w.cols, accumulate);
    });
}

void rmsnorm_backward(meft_ctx &lane, Activation dx, float *dweight, const void *dy, const void *x, const float *rstd,
                      const void *w, int32_t dtype, int64_t rows, int64_t hidden, bool accumulate) {
    if (rows == 0 || hidden == 0) return;
    const int64_t count = rows * hidden;
    with_activation(dx.dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to = static_cast<E *>(accumulate ? on.inout(dx, count) : on.out(dx, count));
            const E *slope = on.in(static_cast<const E *>(dy), count), *from = on.in(static_cast<const E *>(x), count);
            const float *scale = on.in(rstd, rows);
            const StoredWeight weight = on.weight(StoredWeight{w, 1, hidden, hidden, dtype});
            backward_rows(on, to, dweight, slope, from, scale, weight, rows, accumulate);
        });
    });
}

}  // namespace

extern const norm_kernels norm_table;
const norm_kernels norm_table = {rmsnorm_forward, rmsnorm_backward};

}  // namespace cuda
}  // namespace meft
