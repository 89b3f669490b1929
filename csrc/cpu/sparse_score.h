// SPDX-License-Identifier: Apache-2.0
// h . key for a block of tokens and many keys, through the matrix-product tile: tokens are packed, keys are read by
// broadcast, so the planes need no packing (bf16) or only a small joined tile (f32).
//
// Keys are packed instead where tokens are few: then the lanes are keys, none is empty, and a key is read once from
// memory. The products are the same numbers in the same order.
//
// Every dot is one chain of multiply-adds in increasing k: its bits do not depend on which other tokens or
// keys are in the block, so results do not depend on how tokens are cut into micro-batches either.
#pragma once

#include "cpu/adapter_rows.h"
#include "cpu/gemm_tile.h"

namespace meft {
namespace MEFT_TARGET_NS {

constexpr int64_t kScoreTokens = 192;  // tokens of a block: their packed form and the scores share L2
constexpr int64_t kScoreRows = 256;    // keys at once: 192 KiB of scores
constexpr int64_t kFewTokens = 64;     // up to here keys are packed
constexpr int64_t kFewRows = 64;       // keys packed at once

// Tokens of a block and their scores against up to kScoreRows keys. Memory of one thread.
template <class Compute>
struct ScoreBlock {
    typedef typename Compute::operand operand;

    operand *packed;  // packed_room: tokens, k-major; of few tokens their rows
    operand *tile;    // tile_room: rows of keys; for few tokens behind them the same k-major
    float *scores;    // [key][width]; of few tokens [token][kScoreRows]
    int64_t hidden;
    int64_t tokens;
    int64_t width;  // tokens rounded up to whole vectors

    static constexpr int64_t kDepth = 2048 / int64_t(sizeof(operand));  // of one key: kTileRows of them fit half of L1
    static constexpr int64_t kTileCopies = 24;
    static constexpr int64_t kTileStride = kDepth + 64 / int64_t(sizeof(operand));
    static constexpr int64_t kPad = 64 / int64_t(sizeof(operand));

    int64_t few_stride() const { return hidden + kPad; }
    static int64_t packed_room(int64_t hidden) {
        const int64_t many = round_up(hidden, Compute::kGroup) * kScoreTokens, few = kFewTokens * (hidden + kPad);
        return many > few ? many : few;
    }
    static int64_t tile_room() { return kFewRows * (kTileStride + kDepth); }
    static int64_t scores_room() { return kScoreRows * kScoreTokens; }

    // h (.., hidden): rows ids[0..count), count <= kScoreTokens.
    void pack(const float *h, const int32_t *ids, int64_t count);
    // scores[i][t] = h_t . key r, r = rows[i], or first + i where rows is null. count <= kScoreRows.
    void score(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count);
    // The scores of tokens [u, u + some) against those keys, some <= kLanes: token by token, kScoreRows apart, in place
    // or in `lines` (kLanes * kScoreRows).
    const float *by_token(float *lines, int64_t u, int64_t some, int64_t count) const;

private:
    void score_many(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count);
    void score_few(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count);
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
