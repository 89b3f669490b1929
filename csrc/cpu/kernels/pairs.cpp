// SPDX-License-Identifier: Apache-2.0
// Numbers of pairs as a dense matrix and back: tokens are rows, so no two tasks meet.
#include "kernels/pairs.h"

#include "core/pool.h"
#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

int64_t tokens_per_task(int64_t width) { return width >= 16384 ? 1 : 16384 / (width + 1) + 1; }

void scatter(meft_ctx &lane, float *out, const float *values, const int32_t *offsets, const int32_t *columns,
             int64_t tokens, int64_t width) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, tokens, tokens_per_task(width), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *row = out + t * width;
            for (int64_t i = 0; i < width; ++i) row[i] = 0;
            for (int32_t p = offsets[t]; p < offsets[t + 1]; ++p) {
                if (columns[p] >= 0) row[columns[p]] = values[p];
            }
        }
    });
}

void gather(meft_ctx &lane, float *out, const float *dense, const int32_t *offsets, const int32_t *columns,
            int64_t tokens, int64_t width) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, tokens, tokens_per_task(width), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            for (int32_t p = offsets[t]; p < offsets[t + 1]; ++p) {
                if (columns[p] >= 0) out[p] = dense[t * width + columns[p]];
            }
        }
    });
}

}  // namespace

extern const pairs_kernels pairs_table;
const pairs_kernels pairs_table = {scatter, gather};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
