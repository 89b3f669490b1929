// SPDX-License-Identifier: Apache-2.0
// Elementwise work and deterministic sums.
#include "kernels/elementwise.h"

#include "core/pool.h"
#include "cpu/activation_element.h"
#include "cpu/square_sum.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 14;

void add_arrays(meft_ctx &lane, void *y, const void *x, int64_t count, int32_t dtype) {
    lane.ran_target = kTarget;
    with_activation(dtype, [&](auto element) {
        typedef decltype(element) E;
        E *to = static_cast<E *>(y);
        const E *from = static_cast<const E *>(x);
        parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
            each_vector(begin, end, [=](int64_t i, auto lanes) {
                store(to + i, add(load(to + i, lanes), load(from + i, lanes)), lanes);
            });
        });
    });
}

// y = factor * y + x.
void scaled_add(meft_ctx &lane, float *y, const float *x, int64_t count, float factor) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [=](int64_t i, auto lanes) {
            store(y + i, fma(set1(factor), load(y + i, lanes), load(x + i, lanes)), lanes);
        });
    });
}

void scale_array(meft_ctx &lane, float *x, int64_t count, float factor) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; ++i) x[i] *= factor;
    });
}

// x = cap * tanh(x / cap).
void softcap_array(meft_ctx &lane, float *x, int64_t count, float cap) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [=](int64_t i, auto lanes) {
            store(x + i, mul(set1(cap), tanh(div(load(x + i, lanes), set1(cap)))), lanes);
        });
    });
}

// Each chunk in f64, chunks in index order: the same bits for any number of threads.
double sum_squares(meft_ctx &lane, const float *x, int64_t count) {
    lane.ran_target = kTarget;
    const int64_t chunks = (count + kSquareChunk - 1) / kSquareChunk;
    Workspace::Frame frame(lane.workspace);
    double *partial = frame.take<double>(chunks);
    parallel_chunks(lane, count, kSquareChunk, [=](int64_t begin, int64_t end, int32_t) {
        SquareSum sum;
        sum.add(x + begin, 0, end - begin);
        partial[begin / kSquareChunk] = sum.total();
    });
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
    return total;
}

}  // namespace

extern const elementwise_kernels elementwise_table;
const elementwise_kernels elementwise_table = {add_arrays, scaled_add, scale_array, softcap_array, sum_squares};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
