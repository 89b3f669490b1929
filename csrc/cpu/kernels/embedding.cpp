// SPDX-License-Identifier: Apache-2.0
// Rows of a table by id, and the sum of gradients per id.
#include "kernels/embedding.h"

#include "core/pool.h"
#include "cpu/element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 16;    // elements per task; a worker is not woken for less
constexpr int64_t kColumnChunk = 256;  // columns per task of backward, 1 KiB of a row

// to += a row as stored, which may lie at any byte.
template <class S>
void add_row(S, float *to, const typename S::type *from, int64_t hidden) {
    int64_t i = 0;
    for (; i + kLanes <= hidden; i += kLanes) store(to + i, add(load(to + i), S::load(from + i)));
    const int rest = int(hidden - i);
    if (rest > 0) store_part(to + i, add(load_part(to + i, rest), S::load_part(from + i, rest)), rest);
}

void forward(meft_ctx &lane, float *y, const int32_t *ids, const StoredWeight &w, int64_t tokens, bool accumulate) {
    lane.ran_target = kTarget;
    const char *table = static_cast<const char *>(w.data);
    const int64_t row_bytes = w.stride * stored_bytes(w.dtype), hidden = w.cols;
    const int32_t dtype = w.dtype;
    parallel_chunks(lane, tokens, kChunk / (hidden + 1) + 1, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *to = y + t * hidden;
            const char *row = table + ids[t] * row_bytes;
            if (!accumulate) {
                widen(to, row, dtype, hidden);
                continue;
            }
            with_stored(dtype, [=](auto stored) {
                add_row(stored, to, reinterpret_cast<const typename decltype(stored)::type *>(row), hidden);
            });
        }
    });
}

// dweight[ids[t]] += dy[t] in increasing t. Tasks own columns, so an id that comes twice needs no lock.
void backward(meft_ctx &lane, float *dweight, const int32_t *ids, const float *dy, int64_t tokens, int64_t hidden) {
    lane.ran_target = kTarget;
    const int64_t chunk = tokens * hidden <= kChunk ? hidden + 1 : kColumnChunk;
    parallel_chunks(lane, hidden, chunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = 0; t < tokens; ++t) {
            float *to = dweight + ids[t] * hidden;
            const float *from = dy + t * hidden;
            each_vector(begin, end, [=](int64_t d, auto lanes) {
                store(to + d, add(load(to + d, lanes), load(from + d, lanes)), lanes);
            });
        }
    });
}

}  // namespace

extern const embedding_kernels embedding_table;
const embedding_kernels embedding_table = {forward, backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
