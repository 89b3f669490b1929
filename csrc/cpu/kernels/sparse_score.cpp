// SPDX-License-Identifier: Apache-2.0
// Scores of a block of tokens against keys.
#include "cpu/sparse_score.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Calls body(first token, tokens) for panels of nearly even width: 80 tokens as 48 + 32, because a panel of one vector
// keeps the multipliers half idle.
template <class Body>
void each_panel(int64_t tokens, Body &&body) {
    const int64_t vectors = (tokens + kLanes - 1) / kLanes, panels = (vectors + kTileVectors - 1) / kTileVectors;
    for (int64_t q = 0, u = 0; q < panels; ++q) {
        const int64_t end = (vectors * (q + 1) / panels) * kLanes, some = smaller(end, tokens) - u;
        body(u, some);
        u += some;
    }
}

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

// The same keys, count <= kFewRows, packed k-major.
void pack_keys(F32, float *packed, float *tile, int64_t stride, const AdapterRows &keys, const int32_t *rows,
               int64_t first, int64_t count, int64_t begin, int64_t cut) {
    const float *operands = nullptr;
    key_operands(F32(), &operands, tile, stride, keys, rows, first, count, begin, cut);
    pack_transposed<F32>(packed, matrix(operands, stride), nullptr, count, cut);
}
void pack_keys(Bf16, Bf16::operand *packed, Bf16::operand *, int64_t, const AdapterRows &keys, const int32_t *rows,
               int64_t first, int64_t count, int64_t begin, int64_t cut) {
    const Matrix high = {keys.hi, keys.hidden, MEFT_BF16};
    pack_transposed<Bf16>(packed, part(high, rows == nullptr ? first : 0, begin), rows, count, cut);
}

}  // namespace

template <class Compute>
void ScoreBlock<Compute>::pack(const float *h, const int32_t *ids, int64_t count) {
    tokens = count;
    width = round_up(count, kLanes);
    if (count <= kFewTokens) return copy_rows<Compute>(packed, few_stride(), matrix(h, hidden), ids, count, hidden);
    for (int64_t p = 0; p < hidden; p += kDepth) {
        const int64_t cut = smaller(kDepth, hidden - p);
        each_panel(tokens, [&](int64_t u, int64_t some) {
            pack_transposed<Compute>(packed + p * width + u * padded_k<Compute>(cut), part(matrix(h, hidden), 0, p),
                                     ids + u, some, cut);
        });
    }
}

template <class Compute>
void ScoreBlock<Compute>::score(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count) {
    if (tokens <= kFewTokens)
        score_few(keys, rows, first, count);
    else
        score_many(keys, rows, first, count);
}

template <class Compute>
void ScoreBlock<Compute>::score_many(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count) {
    for (int64_t p = 0; p < hidden; p += kDepth) {
        const int64_t cut = smaller(kDepth, hidden - p);
        for (int64_t i = 0; i < count; i += kTileCopies) {
            const int64_t some = smaller(kTileCopies, count - i);
            const operand *keys_tile = nullptr;
            const int64_t stride = key_operands(Compute(), &keys_tile, tile, kTileStride, keys,
                                                rows != nullptr ? rows + i : nullptr, first + i, some, p, cut);
            each_panel(tokens, [&](int64_t u, int64_t of_panel) {
                multiply<Compute>(scores + i * width + u, width, keys_tile, stride,
                                  packed + p * width + u * padded_k<Compute>(cut), some, of_panel, cut, p > 0);
            });
        }
    }
}

template <class Compute>
void ScoreBlock<Compute>::score_few(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count) {
    operand *packed_keys = tile + kFewRows * kTileStride;
    for (int64_t i = 0; i < count; i += kFewRows) {
        const int64_t some = smaller(kFewRows, count - i);
        for (int64_t p = 0; p < hidden; p += kDepth) {
            const int64_t cut = smaller(kDepth, hidden - p);
            pack_keys(Compute(), packed_keys, tile, kTileStride, keys, rows != nullptr ? rows + i : nullptr, first + i,
                      some, p, cut);
            multiply<Compute>(scores + i, kScoreRows, packed + p, few_stride(), packed_keys, tokens, some, cut,
                              p > 0);
        }
    }
}

template <class Compute>
const float *ScoreBlock<Compute>::by_token(float *lines, int64_t u, int64_t some, int64_t count) const {
    if (tokens <= kFewTokens) return scores + u * kScoreRows;
    transpose_into(lines, kScoreRows, scores + u, width, count, some, false);
    return lines;
}

template struct ScoreBlock<F32>;
template struct ScoreBlock<Bf16>;

}  // namespace MEFT_TARGET_NS
}  // namespace meft
