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
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) store_planes(hi + i, lo + i, load(x + i));
        for (; i < end; ++i) split_one(hi + i, lo + i, x[i]);
    });
}

void join_array(meft_ctx &lane, float *x, const uint16_t *hi, const int16_t *lo, int64_t count) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) store(x + i, load_planes(hi + i, lo + i));
        for (; i < end; ++i) x[i] = join_one(hi[i], lo[i]);
    });
}

}  // namespace

extern const planes_kernels planes_table;
const planes_kernels planes_table = {split_array, join_array};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
