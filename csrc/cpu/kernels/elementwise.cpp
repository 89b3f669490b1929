// SPDX-License-Identifier: Apache-2.0
// Elementwise work and deterministic sums.
#include "cpu/kernels/elementwise.h"

#include "core/pool.h"
#include "cpu/simd.h"
#include "cpu/square_sum.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 14;

void add_arrays(meft_ctx &lane, float *y, const float *x, int64_t count) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) store(y + i, add(load(y + i), load(x + i)));
        const int rest = int(end - i);
        if (rest > 0) store_part(y + i, add(load_part(y + i, rest), load_part(x + i, rest)), rest);
    });
}

void scale_array(meft_ctx &lane, float *x, int64_t count, float factor) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; ++i) x[i] *= factor;
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
const elementwise_kernels elementwise_table = {add_arrays, scale_array, sum_squares};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
