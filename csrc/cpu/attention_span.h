// SPDX-License-Identifier: Apache-2.0
// Which keys a query of a span sees, and where the vectors of a head lie.
#pragma once

#include "cpu/activation_element.h"
#include "kernels/attention.h"

namespace meft {
namespace MEFT_TARGET_NS {

constexpr int64_t kKeyTile = 64;  // keys packed at once: with their values they stay in L1 or L2

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// One span; queries and keys are counted from its own begin.
struct Span {
    int64_t q_begin, queries, k_begin, keys;
    AttentionReach reach;

    // The key that query i sits at: the last query at the last key. Below 0 where there are more queries than keys.
    int64_t place(int64_t i) const { return i + keys - queries; }
    // Query i sees keys [keys_begin(i), keys_end(i)). Both grow with i.
    int64_t keys_end(int64_t i) const { return smaller(keys, place(i) + 1 + reach.ahead); }
    int64_t keys_begin(int64_t i) const { return larger(0, place(i) - reach.behind); }
    // Queries [queries_begin(k0), queries_end(k0 + n)) see one of keys [k0, k0 + n).
    int64_t queries_begin(int64_t key) const { return larger(0, key - reach.ahead - place(0)); }
    int64_t queries_end(int64_t end) const { return smaller(queries, end + reach.behind - place(0)); }
};

// A span without keys has no queries to work on.
inline Span span_at(const int32_t *spans, int64_t index, const meft_attention &params) {
    const int32_t *s = spans + 4 * index;
    const int64_t keys = int64_t(s[3]) - s[2];
    return {s[0], keys > 0 ? int64_t(s[1]) - s[0] : 0, s[2], keys, reach_of(params)};
}

// Sizes of one call, and strides between the rows of its arrays.
struct Layout {
    int64_t heads, kv_heads, head_dim, group;  // group: query heads of a kv head
    int64_t q_stride, k_stride;                // elements between the rows of a query head, of a kv head
    float scale, softcap;                      // softcap 0: scores are scale * q.k

    explicit Layout(const meft_attention &a)
        : heads(a.heads),
          kv_heads(a.kv_heads),
          head_dim(a.head_dim),
          group(a.heads / a.kv_heads),
          q_stride(a.heads * a.head_dim),
          k_stride(a.kv_heads * a.head_dim),
          scale(a.scale),
          softcap(a.softcap) {}
    int64_t key(int64_t row, int64_t kv_head) const { return row * k_stride + kv_head * head_dim; }
};

// Rows of the left matrix of a product, `stride` operands apart.
template <class Compute>
struct Operands {
    const typename Compute::operand *data;
    int64_t stride;
};

// The type of q, k, v, o and their gradients.
template <class Compute>
struct ArrayOf {
    typedef bfloat16 element;
    static constexpr int32_t kDtype = MEFT_BF16;
};
template <>
struct ArrayOf<F32> {
    typedef float element;
    static constexpr int32_t kDtype = MEFT_F32;
};

// Whether rows of floats, and of the arrays, must be converted to become operands.
template <class Compute>
constexpr bool converts_floats() {
    return Compute::kDtype != MEFT_F32;
}
template <class Compute>
constexpr bool converts_arrays() {
    return Compute::kDtype != ArrayOf<Compute>::kDtype;
}

// m rows of k elements: in place where they are operands, else converted into room, `stride` operands a row.
template <class Compute>
inline Operands<Compute> operands_of(Matrix rows, int64_t m, int64_t k, typename Compute::operand *room,
                                     int64_t stride) {
    if (const typename Compute::operand *data = in_place<Compute>(rows)) return {data, rows.stride};
    copy_rows<Compute>(room, stride, rows, nullptr, m, k);
    return {room, stride};
}

// The range [starts[r], starts[r+1]) that holds x, of `count` ranges in increasing order, some of them empty.
inline int64_t index_of(const int64_t *starts, int64_t count, int64_t x) {
    int64_t low = 0, high = count;  // starts[low] <= x < starts[high]
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        (starts[middle] <= x ? low : high) = middle;
    }
    return low;
}

// Multiply-adds that are worth a task of their own: some 5 us.
constexpr double kWorkPerTask = 2.5e5;

}  // namespace MEFT_TARGET_NS
}  // namespace meft
