// SPDX-License-Identifier: Apache-2.0
// Norms, one row at a time. Sums run in f32 over kLanes interleaved partial sums.
#include "kernels/norm.h"

#include "core/pool.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

// Rows of one piece of work: about 16 KiB of x. Depends on the sizes alone.
int64_t rows_per_chunk(int64_t hidden) { return hidden >= 4096 ? 1 : 4096 / hidden; }

// Whether a norm takes the mean of a row off it, known where loops are compiled.
template <bool kIs>
struct Centred {};

template <class Body>
void with_centred(int32_t kind, Body &&body) {
    if (kind == MEFT_NORM_LAYER) return body(Centred<true>());
    body(Centred<false>());
}

// What the norm is taken of: x - mean, or x.
inline vf centred(Centred<true>, vf x, float mean) { return sub(x, set1(mean)); }
inline vf centred(Centred<false>, vf x, float) { return x; }

// The same of what was loaded of some lanes, the rest still 0.
template <class C>
inline vf deviation(C c, vf x, float mean, All) {
    return centred(c, x, mean);
}
inline vf deviation(Centred<true> c, vf x, float mean, First lanes) {
    return keep_range(centred(c, x, mean), 0, lanes.n, zero());
}
inline vf deviation(Centred<false>, vf x, float, First) { return x; }

template <class X>
float mean_of(Centred<true>, const X *x, int64_t hidden) {
    vf total = zero();
    each_vector(0, hidden, [&](int64_t i, auto lanes) { total = add(total, load(x + i, lanes)); });
    return sum(total) / float(hidden);
}
template <class X>
float mean_of(Centred<false>, const X *, int64_t) {
    return 0;
}

// Statistics of all rows as they lie in memory: rstd (rows), behind the means (rows) of a layer norm.
struct Statistics {
    float *means;  // or null
    float *rstd;
};
Statistics statistics(const float *stats, const meft_norm &params) {
    float *first = const_cast<float *>(stats);
    if (params.kind == MEFT_NORM_LAYER) return {first, first + params.rows};
    return {nullptr, first};
}

// The factors of a norm as floats, 1 more than stored where they are offset.
const float *factors(Workspace::Frame &frame, const StoredWeight &w, const meft_norm &params) {
    float *weight = frame.take<float>(w.cols);
    widen(weight, w.data, w.dtype, w.cols);
    if (params.unit_offset == 0) return weight;
    each_vector(0, w.cols, [&](int64_t i, auto lanes) {
        store(weight + i, add(set1(1.f), load(weight + i, lanes)), lanes);
    });
    return weight;
}

// y = n * w + bias,  n = (x - mean) * rstd,  rstd = 1/sqrt(mean((x - mean)^2) + eps); the mean is 0 unless centred.
template <class C, class Y, class X>
void forward_rows(meft_ctx &lane, C c, Y *y, const Statistics &stats, const X *x, const float *weight,
                  const float *bias, int64_t hidden, const meft_norm &params) {
    const float eps = params.eps;
    parallel_chunks(lane, params.rows, rows_per_chunk(hidden), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) {
            const X *xr = x + row * hidden;
            Y *yr = y + row * hidden;
            const float mean = mean_of(c, xr, hidden);
            vf squares = zero();
            each_vector(0, hidden, [&](int64_t i, auto lanes) {
                const vf xi = deviation(c, load(xr + i, lanes), mean, lanes);
                squares = fma(xi, xi, squares);
            });
            const float r = 1.f / std::sqrt(sum(squares) / float(hidden) + eps);
            if (stats.means != nullptr) stats.means[row] = mean;
            stats.rstd[row] = r;
            each_vector(0, hidden, [&](int64_t i, auto lanes) {
                const vf n = mul(centred(c, load(xr + i, lanes), mean), set1(r)), w = load(weight + i, lanes);
                store(yr + i, bias != nullptr ? fma(n, w, load(bias + i, lanes)) : mul(n, w), lanes);
            });
        }
    });
}

void forward(meft_ctx &lane, void *y, float *stats, const void *x, const NormWeights &w, const meft_norm &params) {
    lane.ran_target = kTarget;
    const int64_t hidden = w.weight.cols;
    if (params.rows == 0 || hidden == 0) return;
    Workspace::Frame frame(lane.workspace);
    const float *weight = factors(frame, w.weight, params);
    float *bias = nullptr;
    if (w.bias.data != nullptr) widen(bias = frame.take<float>(hidden), w.bias.data, w.bias.dtype, hidden);
    with_centred(params.kind, [&](auto c) {
        with_activation(params.y_dtype, [&](auto out) {
            with_activation(params.x_dtype, [&](auto in) {
                forward_rows(lane, c, static_cast<decltype(out) *>(y), statistics(stats, params),
                             static_cast<const decltype(in) *>(x), weight, bias, hidden, params);
            });
        });
    });
}

// One row of dx = rstd * (g - mean(g) - n * mean(g*n)) with g = w*dy; without mean(g) unless centred.
template <class C, class E>
void row_dx(C c, E *dx, const E *dy, const E *x, float mean, float r, const float *weight, int64_t hidden,
            bool accumulate) {
    vf products = zero(), gradients = zero();
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        const vf g = mul(load(weight + i, lanes), load(dy + i, lanes));
        products = fma(g, centred(c, load(x + i, lanes), mean), products);
        gradients = add(gradients, g);
    });
    // n * mean(g*n) = (x - mean) * (rstd^2 * mean(g*(x - mean))).
    const vf along_x = set1(r * r * (sum(products) / float(hidden)));
    const float along_ones = sum(gradients) / float(hidden);
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        const vf g = mul(load(weight + i, lanes), load(dy + i, lanes));
        const vf rest = fnma(centred(c, load(x + i, lanes), mean), along_x, centred(c, g, along_ones));
        const vf d = mul(set1(r), rest);
        store(dx + i, accumulate ? add(load(dx + i, lanes), d) : d, lanes);
    });
}

template <class C, class E>
void add_row_dweight(C c, float *dweight, const E *dy, const E *x, float mean, float r, int64_t hidden) {
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        const vf n = mul(centred(c, load(x + i, lanes), mean), set1(r));
        store(dweight + i, fma(load(dy + i, lanes), n, load(dweight + i, lanes)), lanes);
    });
}

template <class E>
void add_row_dbias(float *dbias, const E *dy, int64_t hidden) {
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        store(dbias + i, add(load(dbias + i, lanes), load(dy + i, lanes)), lanes);
    });
}

// to (hidden) += the sums of chunks, in index order.
void add_partials(float *to, const float *partial, int64_t chunks, int64_t hidden) {
    for (int64_t c = 0; to != nullptr && c < chunks; ++c) {
        each_vector(0, hidden, [&](int64_t i, auto lanes) {
            store(to + i, add(load(to + i, lanes), load(partial + c * hidden + i, lanes)), lanes);
        });
    }
}

// dweight, dbias: chunks of rows have a partial sum each, added in index order, so that threads do not change a bit. At
// most 64 chunks bound that memory.
template <class C, class E>
void backward_rows(meft_ctx &lane, C c, E *dx, float *dweight, float *dbias, const E *dy, const E *x,
                   const Statistics &stats, const float *weight, int64_t hidden, const meft_norm &params) {
    const int64_t rows = params.rows, small = rows_per_chunk(hidden), few = (rows + 63) / 64;
    const bool trained = dweight != nullptr || dbias != nullptr, accumulate = params.accumulate != 0;
    const int64_t chunk = trained && few > small ? few : small, chunks = (rows + chunk - 1) / chunk;
    Workspace::Frame frame(lane.workspace);
    float *weight_sums = dweight != nullptr ? frame.take<float>(chunks * hidden) : nullptr;
    float *bias_sums = dbias != nullptr ? frame.take<float>(chunks * hidden) : nullptr;
    parallel_chunks(lane, rows, chunk, [=](int64_t begin, int64_t end, int32_t) {
        float *weight_sum = weight_sums != nullptr ? weight_sums + begin / chunk * hidden : nullptr;
        float *bias_sum = bias_sums != nullptr ? bias_sums + begin / chunk * hidden : nullptr;
        if (weight_sum != nullptr) std::memset(weight_sum, 0, size_t(hidden) * 4);
        if (bias_sum != nullptr) std::memset(bias_sum, 0, size_t(hidden) * 4);
        for (int64_t row = begin; row < end; ++row) {
            const int64_t at = row * hidden;
            const float mean = stats.means != nullptr ? stats.means[row] : 0, r = stats.rstd[row];
            if (weight_sum != nullptr) add_row_dweight(c, weight_sum, dy + at, x + at, mean, r, hidden);
            if (bias_sum != nullptr) add_row_dbias(bias_sum, dy + at, hidden);
            row_dx(c, dx + at, dy + at, x + at, mean, r, weight, hidden, accumulate);
        }
    });
    add_partials(dweight, weight_sums, chunks, hidden);
    add_partials(dbias, bias_sums, chunks, hidden);
}

void backward(meft_ctx &lane, void *dx, float *dweight, float *dbias, const void *dy, const void *x,
              const float *stats, const StoredWeight &w, const meft_norm &params) {
    lane.ran_target = kTarget;
    if (params.rows == 0 || w.cols == 0) return;
    Workspace::Frame frame(lane.workspace);
    const float *weight = factors(frame, w, params);
    with_centred(params.kind, [&](auto c) {
        with_activation(params.x_dtype, [&](auto element) {
            typedef decltype(element) E;
            backward_rows(lane, c, static_cast<E *>(dx), dweight, dbias, static_cast<const E *>(dy),
                          static_cast<const E *>(x), statistics(stats, params), weight, w.cols, params);
        });
    });
}

}  // namespace

extern const norm_kernels norm_table;
const norm_kernels norm_table = {forward, backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
