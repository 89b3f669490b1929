// SPDX-License-Identifier: Apache-2.0
// Packing and conversion of the operands of matrix products; layouts stand in gemm_tile.h.
#include "cpu/gemm_tile.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class S>
const typename S::type *row_of(Matrix x, const int32_t *rows, int64_t i) {
    return static_cast<const typename S::type *>(x.data) + (rows != nullptr ? int64_t(rows[i]) : i) * x.stride;
}

template <class T>
float *as_items(T *operands) {
    return reinterpret_cast<float *>(operands);
}

// One panel: rows first .. first+columns of x become its columns, kLanes x kLanes items at a time.
template <class Compute, class S>
void pack_panel_transposed(typename Compute::operand *panel, Matrix x, const int32_t *rows, int64_t first,
                           int64_t columns, int64_t k) {
    constexpr int kGroup = Compute::kGroup;
    const int64_t width = round_up(columns, kLanes), steps = padded_k<Compute>(k) / kGroup;
    for (int64_t j = 0; j < width; j += kLanes) {
        const int64_t lanes = smaller(kLanes, columns - j);
        const typename S::type *source[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) source[i] = row_of<S>(x, rows, first + j + smaller(i, lanes - 1));
        for (int64_t s = 0; s < steps; s += kLanes) {
            const int readable = int(smaller(k - s * kGroup, kLanes * kGroup));
            vf block[kLanes];
#pragma GCC unroll 16
            for (int i = 0; i < kLanes; ++i) {
                block[i] = i < lanes ? Compute::items(S(), source[i] + s * kGroup, readable) : zero();
            }
            transpose(block);
            float *out = as_items(panel) + s * width + j;
            if (steps - s >= kLanes) {
#pragma GCC unroll 16
                for (int i = 0; i < kLanes; ++i) store(out + i * width, block[i]);
            } else {
                for (int i = 0; i < int(steps - s); ++i) store(out + i * width, block[i]);
            }
        }
    }
}

// The kGroup rows of step s of x; the second is null beyond row k.
template <class Compute, class S>
vf step_items(Matrix x, const int32_t *rows, int64_t s, int64_t k, int64_t column, int n) {
    const int64_t p = s * Compute::kGroup;
    const typename S::type *even = row_of<S>(x, rows, p) + column;
    const typename S::type *odd = Compute::kGroup > 1 && p + 1 < k ? row_of<S>(x, rows, p + 1) + column : nullptr;
    return Compute::column_items(S(), even, odd, n);
}

// Short pieces of far-apart rows are more than hardware prefetchers follow: the next steps' rows are asked for while
// these are packed (bf16 from memory: 22 GB/s instead of 11; Zen 5, one thread).
constexpr int64_t kStepsAtOnce = 8;

template <class S>
void prefetch_row(Matrix x, const int32_t *rows, int64_t p, int64_t n) {
    constexpr int64_t kLine = 64 / int64_t(sizeof(typename S::type));
    const typename S::type *row = row_of<S>(x, rows, p);
    for (int64_t j = 0; j < n; j += kLine) __builtin_prefetch(row + j);
}

// Steps [first, end) of one panel, `columns` wide from column j of x on.
template <class Compute, class S>
void pack_steps_normal(typename Compute::operand *panel, Matrix x, const int32_t *rows, int64_t first, int64_t end,
                       int64_t k, int64_t j, int64_t columns) {
    const int64_t width = round_up(columns, kLanes);
    for (int64_t s = first; s < end; ++s) {
        float *out = as_items(panel) + s * width;
        for (int64_t i = 0; i < width; i += kLanes) {
            store(out + i, step_items<Compute, S>(x, rows, s, k, j + i, int(smaller(kLanes, columns - i))));
        }
    }
}

// Stores the first n operands of a vector of items: an odd count of 16-bit operands ends in half an item.
template <class Compute>
void store_operands(typename Compute::operand *a, vf items, int64_t n) {
    if (n >= int64_t(kLanes) * Compute::kGroup) return store(as_items(a), items);
    typename Compute::operand all[kLanes * Compute::kGroup];
    store(as_items(all), items);
    std::memcpy(a, all, size_t(n) * sizeof *a);
}

}  // namespace

template <class Compute>
void pack_transposed(typename Compute::operand *b, Matrix x, const int32_t *rows, int64_t n, int64_t k) {
    constexpr int64_t panel = Compute::kPanel;
    with_stored(x.dtype, [=](auto stored) {
        for (int64_t j = 0; j < n; j += panel) {
            pack_panel_transposed<Compute, decltype(stored)>(b + j * padded_k<Compute>(k), x, rows, j,
                                                             smaller(panel, n - j), k);
        }
    });
}

template <class Compute>
void pack_normal(typename Compute::operand *b, Matrix x, const int32_t *rows, int64_t k, int64_t n) {
    constexpr int64_t panel = Compute::kPanel, kGroup = Compute::kGroup;
    with_stored(x.dtype, [=](auto stored) {
        typedef decltype(stored) S;
        const int64_t steps = padded_k<Compute>(k) / kGroup;
        for (int64_t s = 0; s < steps; s += kStepsAtOnce) {
            const int64_t end = smaller(steps, s + kStepsAtOnce);
            for (int64_t p = end * kGroup; p < smaller(k, (end + kStepsAtOnce) * kGroup); ++p) {
                prefetch_row<S>(x, rows, p, n);
            }
            for (int64_t j = 0; j < n; j += panel) {
                pack_steps_normal<Compute, S>(b + j * padded_k<Compute>(k), x, rows, s, end, k, j,
                                              smaller(panel, n - j));
            }
        }
    });
}

template <class Compute>
void copy_rows(typename Compute::operand *a, int64_t lda, Matrix x, const int32_t *rows, int64_t m, int64_t k) {
    constexpr int kStep = kLanes * Compute::kGroup;
    with_stored(x.dtype, [=](auto stored) {
        typedef decltype(stored) S;
        for (int64_t i = 0; i < m; ++i) {
            const typename S::type *from = row_of<S>(x, rows, i);
            for (int64_t p = 0; p < k; p += kStep) {
                const int64_t n = smaller(kStep, k - p);
                store_operands<Compute>(a + i * lda + p, Compute::items(S(), from + p, int(n)), n);
            }
        }
    });
}

template <class Compute>
void copy_columns(typename Compute::operand *a, int64_t lda, Matrix x, const int32_t *rows, int64_t m, int64_t k) {
    constexpr int kGroup = Compute::kGroup;
    with_stored(x.dtype, [=](auto stored) {
        const int64_t steps = padded_k<Compute>(k) / kGroup;
        for (int64_t s = 0; s < steps; s += kLanes) {
            const int64_t n = smaller(kLanes * kGroup, k - s * kGroup);
            for (int64_t i = 0; i < m; i += kLanes) {
                const int64_t lanes = smaller(kLanes, m - i);
                vf block[kLanes];
#pragma GCC unroll 16
                for (int q = 0; q < kLanes; ++q) {
                    block[q] = s + q < steps ? step_items<Compute, decltype(stored)>(x, rows, s + q, k, i, int(lanes))
                                             : zero();
                }
                transpose(block);
                for (int64_t q = 0; q < lanes; ++q) {
                    store_operands<Compute>(a + (i + q) * lda + s * kGroup, block[q], n);
                }
            }
        }
    });
}

void transpose_into(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t n, bool accumulate) {
    for (int64_t j = 0; j < n; j += kLanes) {
        const int columns = int(smaller(kLanes, n - j));
        for (int64_t i = 0; i < m; i += kLanes) {
            const int rows = int(smaller(kLanes, m - i));
            vf block[kLanes];
#pragma GCC unroll 16
            for (int q = 0; q < kLanes; ++q) {
                const float *from = x + (i + q) * ldx + j;
                block[q] = q >= rows ? zero() : columns == kLanes ? load(from) : load_part(from, columns);
            }
            transpose(block);
            for (int q = 0; q < columns; ++q) {
                float *to = y + (j + q) * ldy + i;
                if (rows == kLanes) {
                    store(to, accumulate ? add(load(to), block[q]) : block[q]);
                } else {
                    store_part(to, accumulate ? add(load_part(to, rows), block[q]) : block[q], rows);
                }
            }
        }
    }
}

#define MEFT_INSTANTIATE(Compute)                                                                             \
    template void pack_transposed<Compute>(Compute::operand *, Matrix, const int32_t *, int64_t, int64_t);    \
    template void pack_normal<Compute>(Compute::operand *, Matrix, const int32_t *, int64_t, int64_t);        \
    template void copy_rows<Compute>(Compute::operand *, int64_t, Matrix, const int32_t *, int64_t, int64_t); \
    template void copy_columns<Compute>(Compute::operand *, int64_t, Matrix, const int32_t *, int64_t, int64_t);
MEFT_INSTANTIATE(F32)
MEFT_INSTANTIATE(Bf16)
#undef MEFT_INSTANTIATE

}  // namespace MEFT_TARGET_NS
}  // namespace meft
