// SPDX-License-Identifier: Apache-2.0
// f32 arrays to split planes and back.
#include "kernels/planes.h"

#include "cuda/kernels/planes.cuh"

namespace meft {
namespace cuda {

namespace {

__global__ void split_kernel(uint16_t *hi, int16_t *lo, const float *x, int64_t count) {
    MEFT_FOR_EACH(i, count) split_element(hi + i, lo + i, x[i]);
}

__global__ void join_kernel(float *x, const uint16_t *hi, const int16_t *lo, int64_t count) {
    MEFT_FOR_EACH(i, count) x[i] = join_element(hi[i], lo[i]);
}

__global__ void gather_kernel(float *out, const uint16_t *hi, const int16_t *lo, const int32_t *rows, int64_t count,
                              int64_t hidden) {
    MEFT_FOR_EACH(i, count) {
        const int64_t from = int64_t(rows[i / hidden]) * hidden + i % hidden;
        out[i] = join_element(hi[from], lo[from]);
    }
}

__global__ void gather_bf16_kernel(uint16_t *out, const uint16_t *hi, const int32_t *rows, int64_t count,
                                   int64_t hidden) {
    MEFT_FOR_EACH(i, count) out[i] = hi[int64_t(rows[i / hidden]) * hidden + i % hidden];
}

__global__ void add_kernel(float *to, const float *from, const int32_t *places, int64_t count, int64_t hidden,
                           int64_t first_new) {
    MEFT_FOR_EACH(i, count) {
        const int64_t place = places[i / hidden];
        float *sum = to + place * hidden + i % hidden;
        *sum = place >= first_new ? from[i] : *sum + from[i];
    }
}

void split(meft_ctx &lane, uint16_t *hi, int16_t *lo, const float *x, int64_t count) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(split_kernel, grid_of(count), kThreads, 0, on.stream, on.out(hi, count), on.out(lo, count),
                    on.in(x, count), count);
    });
}

void join(meft_ctx &lane, float *x, const uint16_t *hi, const int16_t *lo, int64_t count) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(join_kernel, grid_of(count), kThreads, 0, on.stream, on.out(x, count), on.in(hi, count),
                    on.in(lo, count), count);
    });
}

void gather(meft_ctx &lane, void *out, const uint16_t *hi, const int16_t *lo, const int32_t *rows, int64_t row_count,
            int64_t total_rows, int64_t hidden, int32_t dtype) {
    const int64_t count = row_count * hidden, all = total_rows * hidden;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        if (dtype == MEFT_BF16) {
            MEFT_LAUNCH(gather_bf16_kernel, grid_of(count), kThreads, 0, on.stream,
                        on.out(static_cast<uint16_t *>(out), count), on.in(hi, all), on.in(rows, row_count), count,
                        hidden);
        } else {
            MEFT_LAUNCH(gather_kernel, grid_of(count), kThreads, 0, on.stream,
                        on.out(static_cast<float *>(out), count), on.in(hi, all), on.in(lo, all),
                        on.in(rows, row_count), count, hidden);
        }
    });
}

void add(meft_ctx &lane, float *to, const float *from, const int32_t *places, int64_t row_count, int64_t total_rows,
         int64_t hidden, int64_t first_new) {
    const int64_t count = row_count * hidden;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(add_kernel, grid_of(count), kThreads, 0, on.stream, on.inout(to, total_rows * hidden),
                    on.in(from, count), on.in(places, row_count), count, hidden, first_new);
    });
}

}  // namespace

extern const planes_kernels planes_table;
const planes_kernels planes_table = {split, join, gather, add};

}  // namespace cuda
}  // namespace meft
