// SPDX-License-Identifier: Apache-2.0
// Norms, one block a row; the next pass over a row finds it in cache. Sums in f32.
#include "kernels/norm.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

// A norm as its kernels see it.
struct RowNorm {
    int64_t rows;
    int64_t hidden;
    float eps;
    bool layer;        // whether the mean is taken off
    bool unit_offset;
    const void *bias;  // of bias_dtype, or null
    int32_t bias_dtype;
};

// Behind the means (rows) of a layer norm.
__device__ __forceinline__ int64_t rstd_at(const RowNorm &norm, int64_t row) {
    return norm.layer ? norm.rows + row : row;
}

template <class Weight>
__device__ __forceinline__ float factor(const RowNorm &norm, const Weight *w, int64_t i) {
    return norm.unit_offset ? 1.0f + load_element(w + i) : load_element(w + i);
}

__device__ __forceinline__ float bias_at(const RowNorm &norm, int64_t i) {
    if (norm.bias_dtype == MEFT_BF16) return load_element(static_cast<const __nv_bfloat16 *>(norm.bias) + i);
    if (norm.bias_dtype == MEFT_F16) return load_element(static_cast<const __half *>(norm.bias) + i);
    return load_element(static_cast<const float *>(norm.bias) + i);
}

// y = n * w + bias,  n = (x - mean) * rstd,  rstd = 1/sqrt(mean((x - mean)^2) + eps); without a layer norm's mean.
template <int kWidth, class Y, class X, class Weight>
__global__ void __launch_bounds__(kThreads)
    norm_forward_kernel(Y *y, float *stats, const X *x, const Weight *w, RowNorm norm) {
    __shared__ float parts[32];
    const int64_t hidden = norm.hidden, row = int64_t(blockIdx.x) * hidden;
    float mean = 0;
    if (norm.layer) {
        float total = 0;
        for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
            const Floats<kWidth> v = load<kWidth>(x + row + i);
            for (int j = 0; j < kWidth; ++j) total += v.at[j];
        }
        mean = block_sum(total, parts) / float(hidden);
    }
    float squares = 0;
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + row + i);
        for (int j = 0; j < kWidth; ++j) squares += (v.at[j] - mean) * (v.at[j] - mean);
    }
    const float r = 1.f / sqrtf(block_sum(squares, parts) / float(hidden) + norm.eps);
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        Floats<kWidth> v = load<kWidth>(x + row + i);
        for (int j = 0; j < kWidth; ++j) v.at[j] = (v.at[j] - mean) * r * factor(norm, w, i + j);
        if (norm.bias != nullptr) {
            for (int j = 0; j < kWidth; ++j) v.at[j] += bias_at(norm, i + j);
        }
        store(y + row + i, v);
    }
    if (threadIdx.x != 0) return;
    if (norm.layer) stats[blockIdx.x] = mean;
    stats[rstd_at(norm, blockIdx.x)] = r;
}

template <class Y, class X>
void forward_rows(Operands &on, Y *y, float *stats, const X *x, const StoredWeight &w, const RowNorm &norm) {
    const bool wide = w.cols % 4 == 0 && fours(y, x);
    with_elements(w.data, w.dtype, [&](auto weight) {
        using Weight = Element<decltype(weight)>;
        const auto kernel = wide ? norm_forward_kernel<4, Y, X, Weight> : norm_forward_kernel<1, Y, X, Weight>;
        MEFT_LAUNCH(kernel, dim3(unsigned(norm.rows)), kThreads, 0, on.stream, y, stats, x, weight, norm);
    });
}

RowNorm row_norm(const meft_norm &params, int64_t hidden, const StoredWeight &bias) {
    const bool layer = params.kind == MEFT_NORM_LAYER;
    return {params.rows, hidden, params.eps, layer, params.unit_offset != 0, bias.data, bias.dtype};
}

int64_t stats_count(const meft_norm &params) { return params.kind == MEFT_NORM_LAYER ? 2 * params.rows : params.rows; }

void forward(meft_ctx &lane, void *y, float *stats, const void *x, const NormWeights &w, const meft_norm &params) {
    const int64_t hidden = w.weight.cols, count = params.rows * hidden;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        const StoredWeight weight = on.weight(w.weight);
        const RowNorm norm = row_norm(params, hidden, on.weight(w.bias));
        void *to = on.out(Activation{y, params.y_dtype}, count);
        const void *from = on.in(ConstActivation{x, params.x_dtype}, count);
        float *scale = on.out(stats, stats_count(params));
        with_activation(params.y_dtype, [&](auto out) {
            with_activation(params.x_dtype, [&](auto in) {
                forward_rows(on, static_cast<decltype(out) *>(to), scale, static_cast<const decltype(in) *>(from),
                             weight, norm);
            });
        });
    });
}

// dx = rstd * (g - mean(g) - n * mean(g*n)) with g = w*dy, written or accumulated; mean(g) of a layer norm only.
template <int kWidth, class E, class Weight>
__global__ void __launch_bounds__(kThreads)
    norm_backward_kernel(E *dx, const E *dy, const E *x, const float *stats, const Weight *w, RowNorm norm,
                         bool accumulate) {
    __shared__ float parts[32];
    const int64_t hidden = norm.hidden, row = int64_t(blockIdx.x) * hidden;
    const float mean = norm.layer ? stats[blockIdx.x] : 0.0f, r = stats[rstd_at(norm, blockIdx.x)];
    float products = 0, gradients = 0;
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + row + i), d = load<kWidth>(dy + row + i);
        for (int j = 0; j < kWidth; ++j) {
            const float g = factor(norm, w, i + j) * d.at[j];
            products += g * (v.at[j] - mean);
            gradients += g;
        }
    }
    // n * mean(g*n) = (x - mean) * (rstd^2 * mean(g*(x - mean))).
    const float along_x = r * r * (block_sum(products, parts) / float(hidden));
    const float along_ones = norm.layer ? block_sum(gradients, parts) / float(hidden) : 0.0f;
    for (int64_t i = threadIdx.x * kWidth; i < hidden; i += kThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + row + i), d = load<kWidth>(dy + row + i);
        Floats<kWidth> out = {};
        if (accumulate) out = load<kWidth>(dx + row + i);
        for (int j = 0; j < kWidth; ++j) {
            out.at[j] += r * (factor(norm, w, i + j) * d.at[j] - along_ones - (v.at[j] - mean) * along_x);
        }
        store(dx + row + i, out);
    }
}

// partial[c] = sum over the rows of chunk c of dy * n, or of dy for a bias, a thread a column.
template <bool kBias, class E>
__global__ void __launch_bounds__(kThreads)
    norm_partials_kernel(float *partial, const E *dy, const E *x, const float *stats, RowNorm norm, int64_t chunk) {
    const int64_t column = int64_t(blockIdx.x) * kThreads + threadIdx.x, begin = blockIdx.y * chunk;
    if (column >= norm.hidden) return;
    float sum = 0;
    for (int64_t row = begin; row < min(begin + chunk, norm.rows); ++row) {
        const int64_t at = row * norm.hidden + column;
        if (kBias) {
            sum += load_element(dy + at);
        } else {
            const float mean = norm.layer ? stats[row] : 0.0f;
            sum += load_element(dy + at) * ((load_element(x + at) - mean) * stats[rstd_at(norm, row)]);
        }
    }
    partial[blockIdx.y * norm.hidden + column] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_partials_kernel(float *to, const float *partial, int64_t chunks, int64_t hidden) {
    const int64_t column = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (column >= hidden) return;
    float sum = to[column];
    for (int64_t c = 0; c < chunks; ++c) sum += partial[c * hidden + column];
    to[column] = sum;
}

// Chunks of rows, at most 64, have a partial sum each; they are added in order. to: dweight or dbias, or null.
template <bool kBias, class E>
void add_partials(Operands &on, float *to, const E *dy, const E *x, const float *stats, const RowNorm &norm) {
    if (to == nullptr) return;
    const int64_t rows = norm.rows, hidden = norm.hidden;
    const int64_t chunk = rows > 64 * 16 ? (rows + 63) / 64 : 16, chunks = (rows + chunk - 1) / chunk;
    float *partial = on.scratch<float>(chunks * hidden);
    const unsigned across = blocks_for(hidden, kThreads);
    const auto kernel = norm_partials_kernel<kBias, E>;
    MEFT_LAUNCH(kernel, dim3(across, unsigned(chunks)), kThreads, 0, on.stream, partial, dy, x, stats, norm, chunk);
    MEFT_LAUNCH(add_partials_kernel, dim3(across), kThreads, 0, on.stream, on.inout(to, hidden), partial, chunks,
                hidden);
}

template <class E>
void backward_rows(Operands &on, E *dx, const E *dy, const E *x, const float *stats, const StoredWeight &w,
                   const RowNorm &norm, bool accumulate) {
    const bool wide = w.cols % 4 == 0 && fours(dx, dy, x);
    with_elements(w.data, w.dtype, [&](auto weight) {
        using Weight = Element<decltype(weight)>;
        const auto kernel = wide ? norm_backward_kernel<4, E, Weight> : norm_backward_kernel<1, E, Weight>;
        MEFT_LAUNCH(kernel, dim3(unsigned(norm.rows)), kThreads, 0, on.stream, dx, dy, x, stats, weight, norm,
                    accumulate);
    });
}

void backward(meft_ctx &lane, void *dx, float *dweight, float *dbias, const void *dy, const void *x,
              const float *stats, const StoredWeight &w, const meft_norm &params) {
    const int64_t count = params.rows * w.cols;
    const bool accumulate = params.accumulate != 0;
    if (count == 0) return;
    with_activation(params.x_dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to = accumulate ? on.inout(static_cast<E *>(dx), count) : on.out(static_cast<E *>(dx), count);
            const E *slope = on.in(static_cast<const E *>(dy), count), *from = on.in(static_cast<const E *>(x), count);
            const float *scale = on.in(stats, stats_count(params));
            const RowNorm norm = row_norm(params, w.cols, StoredWeight{});
            add_partials<false>(on, dweight, slope, from, scale, norm);
            add_partials<true>(on, dbias, slope, from, scale, norm);
            backward_rows(on, to, slope, from, scale, on.weight(w), norm, accumulate);
        });
    });
}

}  // namespace

extern const norm_kernels norm_table;
const norm_kernels norm_table = {forward, backward};

}  // namespace cuda
}  // namespace meft
