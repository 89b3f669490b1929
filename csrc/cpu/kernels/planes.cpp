// SPDX-License-Identifier: Apache-2.0
// f32 arrays to and from split planes.
#include "cpu/kernels/planes.h"

#include "core/pool.h"
#include "cpu/split_planes.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 14;

void split_array(meft_ctx &lane, uint16_t *hi, int16_t *lo, const float *x, int64_t count) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end,
                    [&](int64_t i, auto lanes) { store_planes(hi + i, lo + i, load(x + i, lanes), lanes); });
    });
}

void join_array(meft_ctx &lane, float *x, const uint16_t *hi, const int16_t *lo, int64_t count) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end,
                    [&](int64_t i, auto lanes) { store(x + i, load_planes(hi + i, lo + i, lanes), lanes); });
    });
}

}  // namespace

extern const planes_kernels planes_table;
const planes_kernels planes_table = {split_array, join_array};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
