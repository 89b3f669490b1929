// SPDX-License-Identifier: Apache-2.0
// Linear layers: y = x w^T + bias and its gradients, on weights as they are stored.
//
// Three ways, by the number of tokens T:
//   few     each weight row is read once and dotted with every token; no packing, so memory speed is the limit
//   narrow  tokens are packed, weights read by broadcast, y computed transposed
//   wide    weights are packed (one read of them costs as much as about 6 tokens), tokens read by broadcast
#include "kernels/linear.h"

#include "core/pool.h"
#include "cpu/activation_element.h"
#include "cpu/product.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kFewTokens = 12;  // measured: from here on packing the tokens pays
// And from here on packing the weights; sooner when they must be converted anyway, or when the transposes of the narrow
// way (one an output) weigh against short sums.
constexpr int64_t kWideTokens = 192;
constexpr int64_t kWideTokensConverted = 96;
constexpr int kDotTokens = 4;
constexpr int64_t kDotWork = 1 << 17;   // weights per task of the dot kernel
constexpr int64_t kColumnChunk = 1024;  // columns per task of a column sum

Matrix stored_matrix(const StoredWeight &w) { return {w.data, w.stride, w.dtype}; }

// Rows of a product whose bf16 result is rounded at once: as many as share one packing of the weight (product.cpp).
constexpr int64_t kRoundedRows = 1056;
constexpr int64_t kRoundChunk = 1 << 14;

template <class To, class From>
void convert_array(meft_ctx &lane, To *to, const From *from, int64_t count) {
    parallel_chunks(lane, count, kRoundChunk,
                    [=](int64_t begin, int64_t end, int32_t) { convert(to, from, begin, end); });
}

// Products write f32, but for wide ones that round their sums themselves. For all others in bf16 this is the place:
// product(y, row, count) writes, or adds to, `count` rows of f32 at y that stand for rows [row, row + count).
template <class Body>
void store_rounded(meft_ctx &lane, Activation y, int64_t rows, int64_t width, bool accumulate, Body &&product) {
    if (y.dtype == MEFT_F32) return product(static_cast<float *>(y.data), 0, rows);
    bfloat16 *to = static_cast<bfloat16 *>(y.data);
    Workspace::Frame frame(lane.workspace);
    float *sums = frame.take<float>((rows < kRoundedRows ? rows : kRoundedRows) * width);
    for (int64_t row = 0; row < rows; row += kRoundedRows) {
        const int64_t count = rows - row < kRoundedRows ? rows - row : kRoundedRows;
        if (accumulate) convert_array(lane, sums, to + row * width, count * width);
        product(sums, row, count);
        convert_array(lane, to + row * width, sums, count * width);
    }
}

// y[t][r] (+)= x[t] . w[r] + bias[r] for kTokens x kRows; x are operands, padded with zeros to whole vectors.
template <class Compute, class S, int kTokens, int kRows>
void dot_tile(float *y, int64_t ldy, const typename Compute::operand *x, int64_t ldx, const typename S::type *w,
              int64_t stride, const float *bias, int64_t k, bool accumulate) {
    constexpr int kStep = kLanes * Compute::kGroup;
    vf sums[kTokens][kRows];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) sums[t][r] = zero();
    }
    const auto step = [&](int64_t p, int n) {
        vf tokens[kTokens];
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) tokens[t] = load(reinterpret_cast<const float *>(x + t * ldx + p));
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
            const vf weights = Compute::items(S(), w + r * stride + p, n);
#pragma GCC unroll 4
            for (int t = 0; t < kTokens; ++t) sums[t][r] = Compute::multiply_add(tokens[t], weights, sums[t][r]);
        }
    };
    int64_t p = 0;
    for (; p + kStep <= k; p += kStep) step(p, kStep);
    if (p < k) step(p, int(k - p));
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
            float *to = y + t * ldy + r;
            const float dot = sum(sums[t][r]) + (bias != nullptr ? bias[r] : 0.f);
            *to = accumulate ? *to + dot : dot;
        }
    }
}

// Rows [begin, end) against all tokens: tokens inside, so that a weight comes from memory once.
template <class Compute, class S>
struct DotRows {
    float *y;
    const typename Compute::operand *x;
    int64_t ldx;
    Matrix w;
    const float *bias;
    int64_t tokens, rows, k;
    bool accumulate;

    template <int kTokens, int kRows>
    void tile(int64_t t, int64_t r) const {
        dot_tile<Compute, S, kTokens, kRows>(y + t * rows + r, rows, x + t * ldx, ldx,
                                             static_cast<const typename S::type *>(w.data) + r * w.stride, w.stride,
                                             bias != nullptr ? bias + r : nullptr, k, accumulate);
    }
    template <int kRows>
    void all_tokens(int64_t r) const {
        int64_t t = 0;
        for (; t + kDotTokens <= tokens; t += kDotTokens) tile<kDotTokens, kRows>(t, r);
        if (t + 2 <= tokens) tile<2, kRows>(t, r), t += 2;
        if (t < tokens) tile<1, kRows>(t, r);
    }
    void run(int64_t begin, int64_t end) const {
        int64_t r = begin;
        for (; r + kDotRows <= end; r += kDotRows) all_tokens<kDotRows>(r);
        for (; r < end; ++r) all_tokens<1>(r);
    }
};

template <class Compute>
void forward_few(meft_ctx &lane, float *y, Matrix x, const StoredWeight &w, const float *bias, int64_t tokens,
                 bool accumulate) {
    typedef typename Compute::operand operand;
    const int64_t k = w.cols, ldx = round_up(k, kLanes * Compute::kGroup);
    Workspace::Frame frame(lane.workspace);
    operand *operands = frame.take<operand>(tokens * ldx);
    for (int64_t t = 0; t < tokens; ++t) {
        std::memset(operands + t * ldx + k, 0, size_t(ldx - k) * sizeof(operand));
    }
    copy_rows<Compute>(operands, ldx, x, nullptr, tokens, k);
    const int64_t chunk = round_up(kDotWork / (k + 1) + 1, kDotRows);
    with_stored(w.dtype, [&](auto stored) {
        const DotRows<Compute, decltype(stored)> dots{y,      operands, ldx, stored_matrix(w), bias,
                                                      tokens, w.rows,   k,   accumulate};
        parallel_chunks(lane, w.rows, chunk, [&](int64_t begin, int64_t end, int32_t) { dots.run(begin, end); });
    });
}

// The bias as floats, or null.
const float *widen_bias(Workspace::Frame &frame, const StoredWeight &bias) {
    if (bias.data == nullptr) return nullptr;
    float *row = frame.take<float>(bias.cols);
    widen(row, bias.data, bias.dtype, bias.cols);
    return row;
}

}  // namespace

void add_bias(meft_ctx &lane, float *y, const StoredWeight &bias, int64_t tokens) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    const int64_t rows = bias.cols, chunk = kSerialWork / 4 / (rows + 1) + 1;
    const float *values = widen_bias(frame, bias);
    parallel_chunks(lane, tokens, chunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *row = y + t * rows;
            each_vector(0, rows, [=](int64_t r, auto lanes) {
                store(row + r, add(load(row + r, lanes), load(values + r, lanes)), lanes);
            });
        }
    });
}

namespace {

// Whether y is computed in the wide way.
template <class Compute>
bool is_wide(int64_t tokens, const StoredWeight &w) {
    const int64_t wide = w.dtype == Compute::kDtype ? kWideTokens : kWideTokensConverted;
    return tokens >= wide || 2 * tokens >= w.cols;
}

// A wide product whose sums are rounded as they leave the cache; false, and nothing done, where that is not its way.
template <class Compute>
bool product_rounded(meft_ctx &lane, Activation c, Product product) {
    if (c.dtype == MEFT_F32 || !rounds_sums<Compute>(product.a, product.m, product.k)) {
        return false;
    }
    product.rounded = static_cast<bfloat16 *>(c.data);
    wide_product<Compute>(lane, product);
    return true;
}

template <class Compute>
void forward_floats(meft_ctx &lane, float *y, Matrix x, const StoredWeight &w, const StoredWeight &bias, int64_t tokens,
                    bool accumulate) {
    if (tokens <= kFewTokens) {
        Workspace::Frame frame(lane.workspace);
        forward_few<Compute>(lane, y, x, w, widen_bias(frame, bias), tokens, accumulate);
        return;
    }
    if (is_wide<Compute>(tokens, w)) {
        wide_product<Compute>(lane,
                              {y, w.rows, x, false, stored_matrix(w), true, tokens, w.rows, w.cols, accumulate});
    } else {
        narrow_product<Compute>(
            lane, {y, w.rows, stored_matrix(w), false, x, true, w.rows, tokens, w.cols, accumulate});
    }
    if (bias.data != nullptr) add_bias(lane, y, bias, tokens);
}

void forward(meft_ctx &lane, Activation y, ConstActivation x, const StoredWeight &w, const StoredWeight &bias,
             int64_t tokens, int32_t compute, bool accumulate) {
    lane.ran_target = kTarget;
    const Matrix inputs = matrix(x, w.cols);
    with_compute(compute, [&](auto way) {
        typedef decltype(way) Compute;
        const Product product = {nullptr, w.rows, inputs, false,  stored_matrix(w),
                                 true,    tokens, w.rows, w.cols, accumulate};
        if (bias.data == nullptr && is_wide<Compute>(tokens, w) && product_rounded<Compute>(lane, y, product)) return;
        store_rounded(lane, y, tokens, w.rows, accumulate, [&](float *to, int64_t row, int64_t count) {
            forward_floats<Compute>(lane, to, part(inputs, row, 0), w, bias, count, accumulate);
        });
    });
}

void backward_data(meft_ctx &lane, Activation dx, ConstActivation dy, const StoredWeight &w, int64_t tokens,
                   int32_t compute, bool accumulate) {
    lane.ran_target = kTarget;
    const Matrix slopes = matrix(dy, w.rows);
    with_compute(compute, [&](auto way) {
        typedef decltype(way) Compute;
        Product product = {nullptr, w.cols, slopes, false,  stored_matrix(w),
                           false,   tokens, w.cols, w.rows, accumulate};
        if (product_rounded<Compute>(lane, dx, product)) return;
        store_rounded(lane, dx, tokens, w.cols, accumulate, [&](float *to, int64_t row, int64_t count) {
            product.c = to, product.a = part(slopes, row, 0), product.m = count;
            wide_product<Compute>(lane, product);
        });
    });
}

// dbias[r] += sum over t of dy[t][r], in increasing t.
void backward_bias(meft_ctx &lane, float *dbias, ConstActivation dy, int64_t tokens, int64_t rows) {
    lane.ran_target = kTarget;
    const int64_t chunk = tokens * rows <= kSerialWork ? rows + 1 : kColumnChunk;
    with_activation(dy.dtype, [&](auto element) {
        const auto *slopes = static_cast<const decltype(element) *>(dy.data);
        parallel_chunks(lane, rows, chunk, [=](int64_t begin, int64_t end, int32_t) {
            for (int64_t t = 0; t < tokens; ++t) {
                const auto *from = slopes + t * rows;
                each_vector(begin, end, [=](int64_t r, auto lanes) {
                    store(dbias + r, add(load(dbias + r, lanes), load(from + r, lanes)), lanes);
                });
            }
        });
    });
}

// A tall, narrow weight (LoRA's B) would fill a fraction of the tile's columns: its transpose x^T dy is computed
// instead and added turned. 2816 x 8 over 1024 tokens in bf16: 1.6 ms before, 0.5 ms so (Zen 5, 2 threads).
template <class Way>
void backward_weight_narrow(meft_ctx &lane, float *dweight, Matrix dy, Matrix x, int64_t tokens, int64_t rows,
                            int64_t cols) {
    Workspace::Frame frame(lane.workspace);
    float *turned = frame.take<float>(rows * cols);
    wide_product<Way>(lane, {turned, rows, x, true, dy, false, cols, rows, tokens, false});
    parallel_chunks(lane, rows, 256, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t r = begin; r < end; ++r) {
            for (int64_t c = 0; c < cols; ++c) dweight[r * cols + c] += turned[c * rows + r];
        }
    });
}

void backward_weight(meft_ctx &lane, float *dweight, ConstActivation dy, ConstActivation x, int64_t tokens,
                     int64_t rows, int64_t cols, int32_t compute) {
    lane.ran_target = kTarget;
    const Matrix slopes = matrix(dy, rows), inputs = matrix(x, cols);
    const bool narrow = cols <= kPanel / 2 && rows > cols;
    with_compute(compute, [&](auto way) {
        if (narrow) {
            backward_weight_narrow<decltype(way)>(lane, dweight, slopes, inputs, tokens, rows, cols);
        } else {
            wide_product<decltype(way)>(
                lane, {dweight, cols, slopes, true, inputs, false, rows, cols, tokens, true});
        }
    });
}

}  // namespace

extern const linear_kernels linear_table;
const linear_kernels linear_table = {forward, backward_data, backward_weight, backward_bias};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
