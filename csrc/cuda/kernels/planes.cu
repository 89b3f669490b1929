// SPDX-License-Identifier: Apache-2.0
// f32 arrays to split planes and back.
#include "cpu/kernels/planes.h"

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

}  // namespace

extern const planes_kernels planes_table;
const planes_kernels planes_table = {split, join};

}  // namespace cuda
}  // namespace meft
