// SPDX-License-Identifier: Apache-2.0
// AVX-512 with products of bf16 in matrix tiles (Intel AMX). Packed B is in the layout that tiles want as it lies: a
// panel is one tile wide, and a row of it holds pairs (k, k+1) of 16 columns. Rows of A are tile rows as they lie.
//
// A tile product sums 32 terms in two chains, of even and odd k, and adds both to C: other bits than vdpbf16ps, but
// again a function of the terms alone, wherever a tile lies and however much of it is used.
#pragma once

#include "cpu/matrix_tiles.h"
#include "cpu/simd/avx512_bf16.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace tiles {

constexpr int64_t kTile = 16;          // rows of a tile, and floats of a row
constexpr int64_t kTerms = 32;         // of one tile product
constexpr int64_t kBlock = 2 * kTile;  // rows and columns of C at once: 4 tiles of C, 2 of A, 2 of B are all there are
constexpr int64_t kLine = 64;          // bytes of a row of a tile of B or C

typedef PairedBf16::operand operand;

// Tiles 0 to 3: C (2 x 2); 4 and 5: A, one below the other; 6 and 7: B, side by side. Loading shapes clears all tiles.
inline void set_shapes(int64_t upper, int64_t lower, int64_t terms) {
    TileShapes shapes = {};
    shapes.palette = 1;
    const auto set = [&](int tile, int64_t rows, int64_t bytes) {
        shapes.rows[tile] = uint8_t(rows);
        shapes.row_bytes[tile] = uint16_t(bytes);
    };
    for (int tile = 0; tile < 4; ++tile) set(tile, tile < 2 ? upper : lower, kLine);
    set(4, upper, 2 * terms);
    set(5, lower, 2 * terms);
    for (int tile = 6; tile < 8; ++tile) set(tile, terms / 2, kLine);
    load_tile_shapes(shapes);
}

// What multiplies the terms [first, first + k) of one block of rows: k a multiple of `terms`, at most 32.
struct Terms {
    const operand *a;  // rows of the block, at term `first`
    int64_t lda, first, k, terms, packed_k;
    bool accumulate;
};

// C of one block: in place where its columns are whole tiles, else through `room`.
struct BlockOfC {
    float *at;
    int64_t stride;  // bytes
};

// The tiles of A and B that one step of k multiplies.
struct Operands {
    const operand *a, *below, *b, *right;
    int64_t a_stride;  // bytes
};

// Rows of one tile, on their way to L1.
inline void prefetch_tile(const operand *tile, int64_t stride) {
    const char *row = reinterpret_cast<const char *>(tile);
#pragma GCC unroll 16
    for (int64_t i = 0; i < kTile; ++i) __builtin_prefetch(row + i * stride);
}

// kLower: whether there are rows below the first 16; kRight: columns beyond the first 16.
template <bool kLower, bool kRight>
struct Block {
    static void clear() {
        _tile_zero(0);
        if (kRight) _tile_zero(1);
        if (kLower) _tile_zero(2);
        if (kLower && kRight) _tile_zero(3);
    }
    static void load(BlockOfC c) {
        const float *below = c.at + kTile * c.stride / 4;
        _tile_loadd(0, c.at, c.stride);
        if (kRight) _tile_loadd(1, c.at + kTile, c.stride);
        if (kLower) _tile_loadd(2, below, c.stride);
        if (kLower && kRight) _tile_loadd(3, below + kTile, c.stride);
    }
    static void store(BlockOfC c) {
        float *below = c.at + kTile * c.stride / 4;
        _tile_stored(0, c.at, c.stride);
        if (kRight) _tile_stored(1, c.at + kTile, c.stride);
        if (kLower) _tile_stored(2, below, c.stride);
        if (kLower && kRight) _tile_stored(3, below + kTile, c.stride);
    }
    static void load(const Operands &t) {
        _tile_loadd(6, t.b, kLine);
        _tile_loadd(4, t.a, t.a_stride);
        if (kLower) _tile_loadd(5, t.below, t.a_stride);
        if (kRight) _tile_loadd(7, t.right, kLine);
    }
    static void multiply() {
        _tile_dpbf16ps(0, 4, 6);
        if (kLower) _tile_dpbf16ps(2, 5, 6);
        if (kLower && kRight) _tile_dpbf16ps(3, 5, 7);
        if (kRight) _tile_dpbf16ps(1, 4, 7);
    }
    // Multiplies what is loaded, and loads each tile of `t` as soon as the old one has been read; `ahead` is what the
    // step after will load. A thread whose neighbour works on the same core sees half as far ahead, and finds neither
    // loads nor their misses by itself: 371 -> 743 GFLOP/s there, 1194 -> 1197 where it has the core (Emerald Rapids,
    // 1008 x 1024 x 256, operands in L2).
    template <bool kPrefetch>
    static void step(const Operands &t, const Operands &ahead) {
        _tile_dpbf16ps(0, 4, 6);
        if (kPrefetch) prefetch_tile(ahead.b, kLine);
        if (kLower) _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(6, t.b, kLine);
        if (kLower) {
            if (kPrefetch) prefetch_tile(ahead.below, t.a_stride);
            if (kRight) _tile_dpbf16ps(3, 5, 7);
            _tile_loadd(5, t.below, t.a_stride);
        }
        if (kPrefetch && kRight) prefetch_tile(ahead.right, kLine);
        if (kRight) _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(4, t.a, t.a_stride);
        if (kPrefetch) prefetch_tile(ahead.a, t.a_stride);
        if (kRight) _tile_loadd(7, t.right, kLine);
    }
};

// One block of C by all of its terms; b: the panel of its first 16 columns, at term `first`.
template <bool kLower, bool kRight>
void block_product(BlockOfC c, const operand *b, const Terms &t) {
    typedef Block<kLower, kRight> Block;
    const int64_t steps = t.k / t.terms, below = kTile * t.lda, right = kTile * t.packed_k;
    const auto operands = [&, a = t.a](int64_t step) {
        const operand *rows = a + step * t.terms, *panel = b + step * t.terms * kTile;
        return Operands{rows, rows + below, panel, panel + right, 2 * t.lda};
    };
    asm volatile("" ::: "memory");  // GCC does not know that tile loads read memory
    if (t.accumulate) {
        Block::load(c);
    } else {
        Block::clear();
    }
    Block::load(operands(0));
    int64_t at = 1;
    for (; at + 1 < steps; ++at) Block::template step<true>(operands(at), operands(at + 1));
    for (; at < steps; ++at) Block::template step<false>(operands(at), operands(at));
    Block::multiply();
    Block::store(c);
}

inline void block_product(BlockOfC c, const operand *b, const Terms &t, bool lower, bool right) {
    if (lower && right) return block_product<true, true>(c, b, t);
    if (lower) return block_product<true, false>(c, b, t);
    if (right) return block_product<false, true>(c, b, t);
    block_product<false, false>(c, b, t);
}

inline void copy_part(float *to, int64_t to_stride, const float *from, int64_t from_stride, int64_t rows,
                      int64_t columns) {
    for (int64_t i = 0; i < rows; ++i) {
        std::memcpy(to + i * to_stride, from + i * from_stride, size_t(columns) * sizeof(float));
    }
}

// Rows of C from `c` on, `rows` <= 32 of them, all columns.
inline void multiply_block(float *c, int64_t ldc, int64_t rows, int64_t n, const operand *b, const Terms &t) {
    for (int64_t j = 0; j < n; j += kBlock) {
        const int64_t columns = n - j < kBlock ? n - j : kBlock;
        const operand *panel = b + j * t.packed_k + t.first * kTile;
        const bool lower = rows > kTile, right = columns > kTile;
        if (columns % kTile == 0) {
            block_product({c + j, 4 * ldc}, panel, t, lower, right);
            continue;
        }
        alignas(64) float room[kBlock * kBlock];
        if (t.accumulate) copy_part(room, kBlock, c + j, ldc, rows, columns);
        block_product({room, 4 * kBlock}, panel, t, lower, right);
        copy_part(c + j, ldc, room, kBlock, rows, columns);
    }
}

// All rows of C by the terms [first, first + k).
inline void multiply_terms(float *c, int64_t ldc, const operand *b, int64_t m, int64_t n, const Terms &all) {
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
inline void multiply_tail(float *c, int64_t ldc, const operand *b, int64_t m, int64_t n, const Terms &t) {
    const int64_t terms = t.k + t.k % 2;
    if (terms == t.k) {
        Terms even = t;
        even.terms = terms;
        return multiply_terms(c, ldc, b, m, n, even);
    }
    operand rows[kBlock * kTerms];
    for (int64_t i = 0; i < m; i += kBlock) {
        const int64_t some = m - i < kBlock ? m - i : kBlock;
        for (int64_t r = 0; r < some; ++r) {
            std::memcpy(rows + r * kTerms, t.a + (i + r) * t.lda, size_t(t.k) * sizeof(operand));
            rows[r * kTerms + t.k] = 0;
        }
        multiply_terms(c + i * ldc, ldc, b, some, n, {rows, kTerms, t.first, terms, terms, t.packed_k, t.accumulate});
    }
}

// c (m x n) = or += A * the first k rows of B; see multiply_first of cpu/gemm_tile.h.
inline void multiply(float *c, int64_t ldc, const operand *a, int64_t lda, const operand *b, int64_t m, int64_t n,
                     int64_t k, int64_t packed_k, bool accumulate) {
    if (m == 0 || n == 0) return;
    if (k == 0 && !accumulate) {
        for (int64_t i = 0; i < m; ++i) std::memset(c + i * ldc, 0, size_t(n) * sizeof(float));
    }
    const int64_t whole = k / kTerms * kTerms, padded = packed_k + packed_k % 2;
    if (whole > 0) multiply_terms(c, ldc, b, m, n, {a, lda, 0, whole, kTerms, padded, accumulate});
    if (whole < k) {
        multiply_tail(c, ldc, b, m, n, {a + whole, lda, whole, k - whole, kTerms, padded, accumulate || whole > 0});
    }
    _tile_release();
}

}  // namespace tiles

struct TiledBf16 : PairedBf16 {
    // One tile, which so lies in one piece (11 % faster than four side by side).
    static constexpr int64_t kPanel = tiles::kTile;
    static constexpr bool kInTiles = true;

    static void multiply(float *c, int64_t ldc, const operand *a, int64_t lda, const operand *b, int64_t m, int64_t n,
                         int64_t k, int64_t packed_k, bool accumulate) {
        tiles::multiply(c, ldc, a, lda, b, m, n, k, packed_k, accumulate);
    }
    // Whether the rows of A that a tile reads lie so that one set of L1 has to hold more lines than it has ways: then a
    // padded copy pays where enough columns share it.
    static bool crowded(int64_t stride, int64_t columns) {
        constexpr int64_t kBytes = 2048, kLeastColumns = 512;
        return columns >= kLeastColumns && stride * int64_t(sizeof(operand)) % kBytes == 0;
    }
};

template <>
struct Products<MEFT_TARGET_AVX512_AMX> : Products<MEFT_TARGET_AVX512_BF16> {
    typedef TiledBf16 Bf16;
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
