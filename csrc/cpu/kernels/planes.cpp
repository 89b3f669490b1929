// SPDX-License-Identifier: Apache-2.0
// f32 arrays to and from split planes.
#include "kernels/planes.h"

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

// Rows of a chunk: what is moved at a time is about kChunk elements.
int64_t chunk_rows(int64_t hidden) { return hidden >= kChunk ? 1 : kChunk / (hidden > 0 ? hidden : 1); }

void gather_rows(meft_ctx &lane, void *out, const uint16_t *hi, const int16_t *lo, const int32_t *rows,
                 int64_t row_count, int64_t, int64_t hidden, int32_t dtype) {
    lane.ran_target = kTarget;
    if (hidden == 0) return;  // arrays may be null then, and memcpy minds even for no bytes
    parallel_chunks(lane, row_count, chunk_rows(hidden), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t from = int64_t(rows[row]) * hidden, to = row * hidden;
            if (dtype == MEFT_BF16) {
                std::memcpy(static_cast<uint16_t *>(out) + to, hi + from, size_t(hidden) * sizeof *hi);
                continue;
            }
            float *x = static_cast<float *>(out) + to;
            each_vector(0, hidden, [&](int64_t i, auto lanes) {
                store(x + i, load_planes(hi + from + i, lo + from + i, lanes), lanes);
            });
        }
    });
}

void add_rows(meft_ctx &lane, float *to, const float *from, const int32_t *places, int64_t row_count, int64_t,
              int64_t hidden, int64_t first_new) {
    lane.ran_target = kTarget;
    if (hidden == 0) return;
    parallel_chunks(lane, row_count, chunk_rows(hidden), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) {
            const float *added = from + row * hidden;
            float *sum = to + int64_t(places[row]) * hidden;
            if (places[row] >= first_new) {
                std::memcpy(sum, added, size_t(hidden) * sizeof *sum);
                continue;
            }
            each_vector(0, hidden, [&](int64_t i, auto lanes) {
                store(sum + i, load(sum + i, lanes) + load(added + i, lanes), lanes);
            });
        }
    });
}

}  // namespace

extern const planes_kernels planes_table;
const planes_kernels planes_table = {split_array, join_array, gather_rows, add_rows};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
