// SPDX-License-Identifier: Apache-2.0
// Scores of a block of tokens against keys.
#include "cpu/sparse_score.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Columns [begin, begin + cut) of the keys rows[0..count) (first.. where rows is null), as operands, a row stride apart
// that is returned: f32 joins both planes, bf16 takes hi, in place where the target multiplies bf16 as stored.
int64_t key_operands(F32, const float **operands, float *tile, int64_t stride, const AdapterRows &keys,
                     const int32_t *rows, int64_t first, int64_t count, int64_t begin, int64_t cut) {
    for (int64_t i = 0; i < count; ++i) {
        const int64_t at = (rows != nullptr ? rows[i] : first + i) * keys.hidden + begin;
        float *to = tile + i * stride;
        each_vector(0, cut, [&](int64_t p, auto lanes) {
            store(to + p, load_planes(keys.hi + at + p, keys.lo + at + p, lanes), lanes);
        });
    }
    *operands = tile;
    return stride;
}
int64_t key_operands(Bf16, const Bf16::operand **operands, Bf16::operand *tile, int64_t stride, const AdapterRows &keys,
                     const int32_t *rows, int64_t first, int64_t count, int64_t begin, int64_t cut) {
    const Matrix high = {keys.hi, keys.hidden, MEFT_BF16};
    if (rows == nullptr) {
        *operands = in_place<Bf16>(part(high, first, begin));
        if (*operands != nullptr) return keys.hidden;
    }
    copy_rows<Bf16>(tile, stride, part(high, rows == nullptr ? first : 0, begin), rows, count, cut);
    *operands = tile;
    return stride;
}

}  // namespace

template <class Compute>
void ScoreBlock<Compute>::pack(const float *h, const int32_t *ids, int64_t count) {
    tokens = count;
    width = round_up(count, kLanes);
    for (int64_t p = 0; p < hidden; p += kDepth) {
        pack_transposed<Compute>(packed + p * width, part(matrix(h, hidden), 0, p), ids, count,
                                 smaller(kDepth, hidden - p));
    }
}

template <class Compute>
void ScoreBlock<Compute>::score(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count) {
    for (int64_t p = 0; p < hidden; p += kDepth) {
        const int64_t cut = smaller(kDepth, hidden - p);
        for (int64_t i = 0; i < count; i += kTileCopies) {
            const int64_t some = smaller(kTileCopies, count - i);
            const operand *keys_tile = nullptr;
            const int64_t stride = key_operands(Compute(), &keys_tile, tile, kTileStride, keys,
                                                rows != nullptr ? rows + i : nullptr, first + i, some, p, cut);
            multiply<Compute>(scores + i * width, width, keys_tile, stride, packed + p * width, some, tokens, cut,
                              p > 0);
        }
    }
}

template struct ScoreBlock<F32>;
template struct ScoreBlock<Bf16>;

}  // namespace MEFT_TARGET_NS
}  // namespace meft
