// SPDX-License-Identifier: Apache-2.0
// h . key for tiles of tokens and neurons: in f32 by plain multiply-adds on both planes, in bf16 on tensor cores from h
// rounded and the high planes as they lie.
#pragma once

#include "cuda/kernel.h"
#include "meft.h"

namespace meft {
namespace cuda {

// Keys or values on the device; rows of `hidden` elements.
struct DevicePlanes {
    const uint16_t *hi;
    const int16_t *lo;  // or null with MEFT_BF16
    int64_t hidden;
};

// Up to 64 entries times up to 64 rows.
struct ScoreTile {
    int32_t entry, entries;  // entries of the list
    int32_t row, rows;       // rows of the list, or neurons where there is none
    int32_t column;          // of the result, for the first row
};

struct ScoreCall {
    const ScoreTile *tiles;
    const float *h;          // (T,D)
    const int32_t *entries;  // (..): an entry is token * slots + slot; null: entry i is i
    int32_t slots;
    const int32_t *rows;  // neurons, or null: row i is neuron i
    DevicePlanes keys;
    float *dots;  // row e of an entry e: width elements
    int64_t width;
};

// dots[entry][column + i] = h_token . key_row.
void score_tiles(cudaStream_t stream, const ScoreCall &call, int64_t tile_count, int32_t compute);

constexpr int32_t kScoreTile = 64;

}  // namespace cuda
}  // namespace meft
