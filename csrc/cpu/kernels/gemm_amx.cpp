// SPDX-License-Identifier: Apache-2.0
// multiply<Bf16> in matrix tiles (Intel AMX). Packed B is in the layout that tiles want as it lies: a row of a tile
// holds pairs (k, k+1) of 16 columns. Rows of A are tile rows as they lie.
//
// A tile product sums 32 terms in two chains, of even and odd k, and adds both to C: other bits than vdpbf16ps, but again
// a function of the terms alone, wherever a tile lies and however much of it is used.
#include "cpu/gemm_tile.h"
#include "cpu/matrix_tiles.h"

#if defined(__AMX_BF16__)

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kTile = 16;          // rows of a tile, and floats of a row
constexpr int64_t kTerms = 32;         // of one tile product
constexpr int64_t kBlock = 2 * kTile;  // rows and columns of C at once: 4 tiles of C, 2 of A, 2 of B are all there are

typedef Bf16::operand operand;

// Tiles 0 to 3: C (2 x 2); 4 and 5: A, one below the other; 6 and 7: B, side by side. Loading shapes clears all tiles.
void set_shapes(int64_t upper, int64_t lower, int64_t terms) {
    TileShapes shapes = {};
    shapes.palette = 1;
    const auto set = [&](int tile, int64_t rows, int64_t bytes) {
        shapes.rows[tile] = uint8_t(rows);
        shapes.row_bytes[tile] = uint16_t(bytes);
    };
    for (int tile = 0; tile < 4; ++tile) set(tile, tile < 2 ? upper : lower, 64);
    set(4, upper, 2 * terms);
    set(5, lower, 2 * terms);
    for (int tile = 6; tile < 8; ++tile) set(tile, terms / 2, 64);
    load_tile_shapes(shapes);
}

// C of one block: in place where its columns are whole tiles, else through `room`.
struct BlockOfC {
    float *at;
    int64_t stride;  // bytes
};

// kLower: whether there are rows below the first 16; kRight: columns beyond the first 16.
template <bool kLower, bool kRight>
void block_product(BlockOfC c, const operand *a, int64_t lda, const operand *b, int64_t width, int64_t k, int64_t terms,
                   bool accumulate) {
    asm volatile("" ::: "memory");  // GCC does not know that tile loads read memory
    float *below = c.at + kTile * c.stride / 4;
    if (accumulate) {
        _tile_loadd(0, c.at, c.stride);
        if (kRight) _tile_loadd(1, c.at + kTile, c.stride);
        if (kLower) _tile_loadd(2, below, c.stride);
        if (kLower && kRight) _tile_loadd(3, below + kTile, c.stride);
    } else {
        _tile_zero(0);
        if (kRight) _tile_zero(1);
        if (kLower) _tile_zero(2);
        if (kLower && kRight) _tile_zero(3);
    }
    const operand *a_below = a + kTile * lda;
    const int64_t a_stride = 2 * lda, b_stride = 4 * width;
    for (int64_t p = 0; p < k; p += terms, b += terms * width) {
        _tile_loadd(6, b, b_stride);
        _tile_loadd(4, a + p, a_stride);
        _tile_dpbf16ps(0, 4, 6);
        if (kRight) {
            _tile_loadd(7, b + 2 * kTile, b_stride);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (kLower) {
            _tile_loadd(5, a_below + p, a_stride);
            _tile_dpbf16ps(2, 5, 6);
            if (kRight) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c.at, c.stride);
    if (kRight) _tile_stored(1, c.at + kTile, c.stride);
    if (kLower) _tile_stored(2, below, c.stride);
    if (kLower && kRight) _tile_stored(3, below + kTile, c.stride);
}

void block_product(BlockOfC c, const operand *a, int64_t lda, const operand *b, int64_t width, int64_t k, int64_t terms,
                   bool accumulate, bool lower, bool right) {
    if (lower && right) return block_product<true, true>(c, a, lda, b, width, k, terms, accumulate);
    if (lower) return block_product<true, false>(c, a, lda, b, width, k, terms, accumulate);
    if (right) return block_product<false, true>(c, a, lda, b, width, k, terms, accumulate);
    block_product<false, false>(c, a, lda, b, width, k, terms, accumulate);
}

void copy_part(float *to, int64_t to_stride, const float *from, int64_t from_stride, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; ++i) {
        std::memcpy(to + i * to_stride, from + i * from_stride, size_t(columns) * sizeof(float));
    }
}

// What multiplies the terms [first, first + k) of one block of rows: k a multiple of `terms`, at most 32.
struct Terms {
    const operand *a;  // rows of the block, at term `first`
    int64_t lda, first, k, terms, packed_k;
    bool accumulate;
};

// Rows of C from `c` on, `rows` <= 32 of them, all columns.
void multiply_block(float *c, int64_t ldc, int64_t rows, int64_t n, const operand *b, const Terms &t) {
    for (int64_t j = 0; j < n; j += kBlock) {
        const int64_t columns = n - j < kBlock ? n - j : kBlock, panel = j / kPanel * kPanel;
        const int64_t width = n - panel < kPanel ? round_up(n - panel, kLanes) : kPanel;
        const operand *tile = b + panel * t.packed_k + t.first * width + (j - panel) * 2;
        const bool lower = rows > kTile, right = columns > kTile;
        if (columns % kTile == 0) {
            block_product({c + j, 4 * ldc}, t.a, t.lda, tile, width, t.k, t.terms, t.accumulate, lower, right);
            continue;
        }
        alignas(64) float room[kBlock * kBlock];
        if (t.accumulate) copy_part(room, kBlock, c + j, ldc, rows, columns);
        block_product({room, 4 * kBlock}, t.a, t.lda, tile, width, t.k, t.terms, t.accumulate, lower, right);
        copy_part(c + j, ldc, room, kBlock, rows, columns);
    }
}

// All rows of C by the terms [first, first + k).
void multiply_terms(float *c, int64_t ldc, const operand *b, int64_t m, int64_t n, const Terms &all) {
    const int64_t whole = m / kBlock * kBlock, left = m - whole;
    const auto block = [&](int64_t i, int64_t rows) {
        Terms t = all;
        t.a = all.a + i * all.lda;
        multiply_block(c + i * ldc, ldc, rows, n, b, t);
    };
    if (whole > 0) {
        set_shapes(kTile, kTile, all.terms);
        for (int64_t i = 0; i < whole; i += kBlock) block(i, kBlock);
    }
    if (left > 0) {
        set_shapes(left < kTile ? left : kTile, left > kTile ? left - kTile : 1, all.terms);
        block(whole, left);
    }
}

// The last k - first < 32 terms, an odd one with a zero beside it: the pair of its B may hold anything.
void multiply_tail(float *c, int64_t ldc, const operand *a, int64_t lda, const operand *b, int64_t m, int64_t n,
                   int64_t k, int64_t first, bool accumulate) {
    const int64_t count = k - first, terms = padded_k<Bf16>(count), packed_k = padded_k<Bf16>(k);
    if (terms == count) {
        return multiply_terms(c, ldc, b, m, n, {a + first, lda, first, terms, terms, packed_k, accumulate});
    }
    operand rows[kBlock * kTerms];
    for (int64_t i = 0; i < m; i += kBlock) {
        const int64_t some = m - i < kBlock ? m - i : kBlock;
        for (int64_t r = 0; r < some; ++r) {
            std::memcpy(rows + r * kTerms, a + (i + r) * lda + first, size_t(count) * sizeof(operand));
            rows[r * kTerms + count] = 0;
        }
        multiply_terms(c + i * ldc, ldc, b, some, n, {rows, kTerms, first, terms, terms, packed_k, accumulate});
    }
}

}  // namespace

template <>
void multiply<Bf16>(float *c, int64_t ldc, const operand *a, int64_t lda, const operand *b, int64_t m, int64_t n,
                    int64_t k, bool accumulate) {
    if (m == 0 || n == 0) return;
    if (k == 0 && !accumulate) {
        for (int64_t i = 0; i < m; ++i) std::memset(c + i * ldc, 0, size_t(n) * sizeof(float));
    }
    const int64_t whole = k / kTerms * kTerms;
    if (whole > 0) {
        multiply_terms(c, ldc, b, m, n, {a, lda, 0, whole, kTerms, padded_k<Bf16>(k), accumulate});
    }
    if (whole < k) multiply_tail(c, ldc, a, lda, b, m, n, k, whole, accumulate || whole > 0);
    _tile_release();
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft

#endif
