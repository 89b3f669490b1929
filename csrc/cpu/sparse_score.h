// SPDX-License-Identifier: Apache-2.0
// h . key for a block of tokens and many keys, through the matrix-product tile: tokens are packed, keys are read by
// broadcast, so the planes need no packing (bf16) or only a small joined tile (f32).
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

// Tokens of a block and their scores against up to kScoreRows keys. Memory of one thread.
template <class Compute>
struct ScoreBlock {
    typedef typename Compute::operand operand;

    operand *packed;  // packed_room
    operand *tile;    // kTileCopies rows of keys
    float *scores;    // [key][width]
    int64_t hidden;
    int64_t tokens;
    int64_t width;  // tokens rounded up to whole vectors

    static constexpr int64_t kDepth = 2048 / int64_t(sizeof(operand));  // of one key: kTileRows of them fit half of L1
    static constexpr int64_t kTileCopies = 24;
    static constexpr int64_t kTileStride = kDepth + 64 / int64_t(sizeof(operand));

    static int64_t packed_room(int64_t hidden) { return round_up(hidden, Compute::kGroup) * kScoreTokens; }
    static int64_t tile_room() { return kTileCopies * kTileStride; }
    static int64_t scores_room() { return kScoreRows * kScoreTokens; }

    // h (.., hidden): rows ids[0..count), count <= kScoreTokens.
    void pack(const float *h, const int32_t *ids, int64_t count);
    // scores[i][t] = h_t . key r, r = rows[i], or first + i where rows is null. count <= kScoreRows.
    void score(const AdapterRows &keys, const int32_t *rows, int64_t first, int64_t count);
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
