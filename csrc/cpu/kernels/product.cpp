// SPDX-License-Identifier: Apache-2.0
// Blocking of whole matrix products for cache and threads.
#include "cpu/product.h"

#include "core/pool.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t pieces(int64_t count, int64_t piece) { return (count + piece - 1) / piece; }

// Block sizes. Measured best of a sweep on Zen 5 (L1 48 KiB, L2 1 MiB, L3 32 MiB shared) by csrc/bench/linear.cpp.
constexpr int64_t kWideDepthBytes = kFacts.depth_bytes;  // of a row of A
constexpr int64_t kWideColumns = 256;               // packed at once, or what kPackedBytes of them are
constexpr int64_t kPackedBytes = int64_t(1) << 20;  // half of L2 or less
constexpr int64_t kWideRows = 1056;                 // rows of A that share one packing of B: just over 1024, in tiles
static_assert(kWideRows % kTileRows == 0 && kWideRows % kRowBlock == 0, "whole tiles");
constexpr int64_t kCopyBytes = int64_t(16) << 20;  // of a converted block of A
constexpr int64_t kRoundedRows = 3 * kRowBlock;    // of sums that are rounded before they leave L2
constexpr int64_t kNarrowBytes = 512 << 10;        // of B per cut of k
constexpr int64_t kNarrowColumns = 192;
constexpr int64_t kNarrowRows = 2 * kRowBlock;  // rows of A per task: whole transposes too

// Cuts of n into strips of whole panels, of m into `down` parts; a task is one part of one strip. Strips are taken in
// order and get narrower, so that threads finish together though one may have been interrupted.
struct Grid {
    int64_t rows, down, strips;
    const int64_t *columns;  // strip s: columns[s] to columns[s + 1]
    int64_t tasks() const { return down * strips; }
    int64_t widest() const { return columns[1] - columns[0]; }
};

// widest: columns of a strip at most.
Grid wide_grid(const meft_ctx &lane, Workspace::Frame &frame, int64_t m, int64_t n, int64_t k, int64_t widest) {
    int64_t *columns = frame.take<int64_t>(pieces(n, kPanel) + 2);
    const bool serial = m * n * k <= kSerialWork;
    const int64_t threads = serial ? 1 : lane.threads, wanted = threads > 1 ? 4 * threads : 1;
    const int64_t panels = pieces(n, kPanel), least = panels >= 2 * wanted ? 2 : 1;  // every strip reads all of A
    int64_t strips = 0;
    columns[0] = 0;
    columns[1] = n;
    for (int64_t at = 0; at < n; ++strips) {
        const int64_t left = pieces(n - at, kPanel), share = threads > 1 ? left / (2 * threads) : left;
        at = smaller(n, at + smaller(widest / kPanel, larger(share, least)) * kPanel);
        columns[strips + 1] = at;
    }
    const int64_t down = smaller(pieces(wanted, larger(strips, 1)), pieces(m, 2 * kRowBlock));
    const int64_t rows = serial ? m : round_up(pieces(m, larger(down, 1)), kRowBlock);
    return {rows, pieces(m, larger(rows, 1)), strips, columns};
}

template <class Compute>
struct Rows {
    const typename Compute::operand *data;
    int64_t stride;
};

// Converts rows [row, row + count) of A into scratch, or transposes them.
template <class Compute>
void convert_a(meft_ctx &lane, const Product &product, int64_t row, int64_t count, typename Compute::operand *scratch,
               int64_t stride) {
    // A transposed copy reads `chunk` elements of each row of a: short pieces would cost a page each.
    const int64_t most = product.a_transposed ? 256 : 32;
    const int64_t chunk = count * product.k <= kSerialWork
                              ? count
                              : smaller(most, round_up(pieces(count, 2 * int64_t(lane.threads)), 32));
    parallel_chunks(lane, count, chunk, [&](int64_t begin, int64_t end, int32_t) {
        typename Compute::operand *to = scratch + begin * stride;
        if (product.a_transposed) {
            copy_columns<Compute>(to, stride, part(product.a, 0, row + begin), nullptr, end - begin, product.k);
        } else {
            copy_rows<Compute>(to, stride, part(product.a, row + begin, 0), nullptr, end - begin, product.k);
        }
    });
}

// Where a task puts its part of C.
struct Place {
    float *c;
    int64_t stride;
};

// Rounds sums, or widens them again.
template <class To, class From>
void convert_sums(To *to, int64_t to_stride, const From *from, int64_t from_stride, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; ++i) convert(to + i * to_stride, from + i * from_stride, 0, columns);
}

// C rows [row, row + count): every task packs its columns of B, one cut of k after the other, and multiplies. Sums that
// are to be rounded have room of their own, of a few rows where one cut is all there is.
template <class Compute>
void multiply_rows(meft_ctx &lane, const Product &product, int64_t row, int64_t count, Rows<Compute> a) {
    typedef typename Compute::operand operand;
    const int64_t n = product.n, k = product.k, depth = kWideDepthBytes / int64_t(sizeof(operand));
    const int64_t column_bytes = larger(1, smaller(k, depth)) * int64_t(sizeof(operand));
    Workspace::Frame frame(lane.workspace);
    const Grid grid = wide_grid(lane, frame, count, n, k, smaller(kWideColumns, kPackedBytes / column_bytes));
    const int64_t room = packed_count<Compute>(smaller(k, depth), grid.widest());
    operand *packed = frame.take<operand>(lane.threads * room);
    const int64_t height = product.rounded == nullptr ? grid.rows : k > depth ? grid.rows : kRoundedRows;
    const int64_t sums_room = product.rounded == nullptr ? 0 : height * round_up(grid.widest(), kLanes);
    float *sums = frame.take<float>(lane.threads * sums_room);
    parallel(lane, grid.tasks(), [&](int64_t task, int32_t thread) {
        const int64_t i = task % grid.down * grid.rows, rows = smaller(grid.rows, count - i);
        const int64_t j = grid.columns[task / grid.down], columns = grid.columns[task / grid.down + 1] - j;
        operand *b = packed + thread * room;
        const auto place = [&](int64_t r) {
            if (product.rounded != nullptr) return Place{sums + thread * sums_room, round_up(columns, kLanes)};
            return Place{product.c + (row + i + r) * product.ldc + j, product.ldc};
        };
        for (int64_t p = 0; p == 0 || p < k; p += depth) {
            const int64_t cut = smaller(depth, k - p);
            if (product.b_transposed) {
                pack_transposed<Compute>(b, part(product.b, j, p), nullptr, columns, cut);
            } else {
                pack_normal<Compute>(b, part(product.b, p, j), nullptr, cut, columns);
            }
            for (int64_t r = 0; r < rows; r += height) {
                const int64_t some = smaller(height, rows - r);
                const Place sum = place(r);
                bfloat16 *rounded =
                    product.rounded == nullptr ? nullptr : product.rounded + (row + i + r) * product.ldc + j;
                if (rounded != nullptr && product.accumulate && p == 0) {
                    convert_sums(sum.c, sum.stride, rounded, product.ldc, some, columns);
                }
                multiply<Compute>(sum.c, sum.stride, a.data + (i + r) * a.stride + p, a.stride, b, some, columns, cut,
                                  product.accumulate || p > 0);
                if (rounded != nullptr && p + cut >= k) {
                    convert_sums(rounded, product.ldc, sum.c, sum.stride, some, columns);
                }
            }
        }
    });
}

// Columns of A that are copied at once, of `block` rows. A long row is cut rather than the block made lower, which
// would pack B again for each block. Cuts are whole depths of multiply_rows, so the order of the sums is the same.
template <class Compute>
int64_t copied_span(int64_t block) {
    constexpr int64_t kOperand = int64_t(sizeof(typename Compute::operand)), kDepth = kWideDepthBytes / kOperand;
    return larger(kDepth, kCopyBytes / kOperand / larger(block, 1) / kDepth * kDepth);
}

// The terms [p, p + k) of every sum; later cuts add to C.
Product cut_of(const Product &product, int64_t p, int64_t k) {
    Product cut = product;
    cut.a = product.a_transposed ? part(product.a, p, 0) : part(product.a, 0, p);
    cut.b = product.b_transposed ? part(product.b, 0, p) : part(product.b, p, 0);
    cut.k = k;
    cut.accumulate = product.accumulate || p > 0;
    return cut;
}

// Whether rows of A that are operands as they lie are better copied all the same: not where cuts of them would round
// sums that are not yet whole.
template <class Compute>
bool crowded(const Product &product) {
    if constexpr (Compute::kInTiles) {
        const bool whole = product.k <= copied_span<Compute>(smaller(product.m, kWideRows));
        return (product.rounded == nullptr || whole) && Compute::crowded(product.a.stride, product.n);
    }
    return false;
}

}  // namespace

template <class Compute>
bool rounds_sums(Matrix a, int64_t m, int64_t k) {
    return in_place<Compute>(a) != nullptr || k <= copied_span<Compute>(smaller(m, kWideRows));
}

template <class Compute>
void wide_product(meft_ctx &lane, const Product &product) {
    typedef typename Compute::operand operand;
    constexpr int64_t kLine = 64 / int64_t(sizeof(operand));
    const bool copy = product.a_transposed || in_place<Compute>(product.a) == nullptr || crowded<Compute>(product);
    const int64_t block = smaller(product.m, kWideRows);
    const int64_t span = copy ? smaller(larger(product.k, 1), copied_span<Compute>(block)) : larger(product.k, 1);
    // A line of padding keeps rows a power of two apart out of each other's cache sets.
    const int64_t stride = copy ? round_up(span, kLine) + kLine : product.a.stride;
    Workspace::Frame frame(lane.workspace);
    operand *scratch = copy ? frame.take<operand>(block * stride) : nullptr;
    for (int64_t row = 0; row < product.m; row += block) {
        const int64_t count = smaller(block, product.m - row);
        for (int64_t p = 0; p == 0 || p < product.k; p += span) {
            const Product cut = cut_of(product, p, smaller(span, product.k - p));
            if (copy) convert_a<Compute>(lane, cut, row, count, scratch, stride);
            const operand *a = copy ? scratch : in_place<Compute>(part(cut.a, row, 0));
            multiply_rows<Compute>(lane, cut, row, count, {a, stride});
        }
    }
}

namespace {

// One task of narrow_product: rows [row, row + count) of A against all of packed B, for columns from `column` on.
template <class Compute>
struct NarrowTask {
    typedef typename Compute::operand operand;
    const Product &product;
    const operand *packed;  // cuts of k one after the other
    int64_t columns, depth;

    void run(int64_t column, int64_t row, int64_t count, float *tile, operand *copied) const {
        const int64_t k = product.k, width = round_up(columns, kLanes);
        for (int64_t p = 0; p == 0 || p < k; p += depth) {
            const int64_t cut = smaller(depth, k - p);
            for (int64_t i = 0; i < count; i += kRowBlock) {
                const int64_t rows = smaller(kRowBlock, count - i);
                const Matrix source = part(product.a, row + i, p);
                const operand *a = in_place<Compute>(source);
                int64_t stride = source.stride;
                if (a == nullptr) {
                    stride = depth + 64 / int64_t(sizeof(operand));
                    copy_rows<Compute>(copied, stride, source, nullptr, rows, cut);
                    a = copied;
                }
                multiply<Compute>(tile + i * width, width, a, stride, packed + p * width, rows, columns, cut, p > 0);
            }
        }
        transpose_into(product.c + column * product.ldc + row, product.ldc, tile, width, count, columns,
                       product.accumulate);
    }
};

}  // namespace

template <class Compute>
void narrow_product(meft_ctx &lane, const Product &product) {
    typedef typename Compute::operand operand;
    const int64_t m = product.m, k = product.k;
    const bool serial = m * product.n * k <= kSerialWork;
    const int64_t widest = round_up(smaller(product.n, kNarrowColumns), kLanes);
    const int64_t fitting = kNarrowBytes / int64_t(sizeof(operand)) / larger(widest, 1) / 64 * 64;
    const int64_t depth = smaller(larger(fitting, 256), 4096);
    const int64_t group = serial ? larger(m, 1) : kNarrowRows;
    const int64_t copy_room = kRowBlock * (depth + 64 / int64_t(sizeof(operand)));
    Workspace::Frame frame(lane.workspace);
    operand *packed = frame.take<operand>(padded_k<Compute>(k) * widest);
    operand *copies = frame.take<operand>(lane.threads * copy_room);
    float *tiles = frame.take<float>(lane.threads * group * widest);
    for (int64_t column = 0; column < product.n; column += kNarrowColumns) {
        const int64_t columns = smaller(kNarrowColumns, product.n - column), width = round_up(columns, kLanes);
        const auto pack_cut = [&](int64_t cut, int32_t) {
            const int64_t p = cut * depth;
            pack_transposed<Compute>(packed + p * width, part(product.b, column, p), nullptr, columns,
                                     smaller(depth, k - p));
        };
        const int64_t cuts = pieces(k, depth);
        if (serial) {
            for (int64_t cut = 0; cut < cuts; ++cut) pack_cut(cut, 0);
        } else {
            parallel(lane, cuts, pack_cut);
        }
        const NarrowTask<Compute> task{product, packed, columns, depth};
        parallel(lane, pieces(m, group), [&](int64_t index, int32_t thread) {
            const int64_t row = index * group;
            task.run(column, row, smaller(group, m - row), tiles + thread * group * widest,
                     copies + thread * copy_room);
        });
    }
}

template bool rounds_sums<F32>(Matrix, int64_t, int64_t);
template bool rounds_sums<Bf16>(Matrix, int64_t, int64_t);
template void wide_product<F32>(meft_ctx &, const Product &);
template void wide_product<Bf16>(meft_ctx &, const Product &);
template void narrow_product<F32>(meft_ctx &, const Product &);
template void narrow_product<Bf16>(meft_ctx &, const Product &);

}  // namespace MEFT_TARGET_NS
}  // namespace meft
