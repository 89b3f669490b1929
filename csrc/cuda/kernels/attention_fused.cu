// SPDX-License-Identifier: Apache-2.0
// Calls of attention as fused kernels want them: spans that follow each other without a gap are a batch, ragged unless all
// are of one length; arrays in f32 are rounded to bf16 on the way in and widened on the way out; lse (rows, H) is turned
// into stats (B, H, queries) and back.
#include "cuda/kernels/attention_fused.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace meft {
namespace cuda {

namespace {

// A library's plan is made for a shape: shorter sequences (decoding, where every token has its own) are not worth one.
constexpr int32_t kLeastQueries = 64;
// Sequences of several lengths are padded to a multiple of this in the plan, so that few plans serve all of them.
constexpr int64_t kLengthStep = 256;

// A call's spans as sequences of a batch.
struct Layout {
    FusedShape shape;
    int32_t q_begin, k_begin;  // rows
    int64_t q_rows, k_rows;
    std::vector<int32_t> q_lengths, k_lengths;
};

int64_t padded(int64_t length) { return (length + kLengthStep - 1) / kLengthStep * kLengthStep; }

// Whether the spans are neighbours of at least kLeastQueries, and of keys to see; fills the lengths.
bool follow_each_other(Layout &layout, const int32_t *spans, int64_t span_count) {
    for (int64_t s = 0; s < span_count; ++s) {
        const int32_t *span = spans + 4 * s;
        if (span[1] - span[0] < kLeastQueries || span[2] == span[3]) return false;
        if (s == 0) {
            layout.q_begin = span[0];
            layout.k_begin = span[2];
        } else if (span[0] != span[-3] || span[2] != span[-1]) {
            return false;
        }
        layout.q_lengths.push_back(span[1] - span[0]);
        layout.k_lengths.push_back(span[3] - span[2]);
    }
    if (span_count == 0) return false;
    layout.q_rows = spans[4 * span_count - 3] - layout.q_begin;
    layout.k_rows = spans[4 * span_count - 1] - layout.k_begin;
    return true;
}

bool all_equal(const std::vector<int32_t> &lengths) {
    return std::count(lengths.begin(), lengths.end(), lengths[0]) == int64_t(lengths.size());
}

bool lay_out(Layout &layout, const int32_t *spans, const meft_attention &a) {
    if (a.compute != MEFT_BF16 || attention_choice() == AttentionChoice::own) return false;
    if (a.softcap > 0 || a.head_dim % 8 != 0 || !follow_each_other(layout, spans, a.span_count)) return false;
    const bool ragged = !all_equal(layout.q_lengths) || !all_equal(layout.k_lengths);
    const int64_t queries = *std::max_element(layout.q_lengths.begin(), layout.q_lengths.end());
    const int64_t keys = *std::max_element(layout.k_lengths.begin(), layout.k_lengths.end());
    // Offsets are int32.
    if (layout.q_rows * a.heads * a.head_dim > std::numeric_limits<int32_t>::max()) return false;
    // A window that hides nothing is none; another is the fused kernels' where the past is seen.
    const bool past = a.sees == MEFT_SEES_PAST, hides = reach_of(a).behind < keys - 1;
    if (hides && !past) return false;
    const int64_t window = hides ? a.window : 0;
    layout.shape = {a.span_count,
                    a.heads,
                    a.kv_heads,
                    a.head_dim,
                    ragged ? padded(queries) : queries,
                    ragged ? padded(keys) : keys,
                    past,
                    window,
                    a.scale,
                    ragged};
    return true;
}

__device__ __forceinline__ void put(__nv_bfloat16 *to, float v) { *to = __float2bfloat16(v); }
__device__ __forceinline__ void put(float *to, float v) { *to = v; }

template <class To, class From>
__global__ void convert_kernel(To *to, const From *from, int64_t count) {
    MEFT_FOR_EACH(i, count) put(to + i, load_element(from + i));
}

// Stats (B,H,queries) from lse (rows,H), or lse from stats; a block a row of lse at most `queries` a sequence.
struct StatsPlace {
    const int32_t *begins, *lengths;  // (B) rows of lse
    int32_t heads, queries;
};
template <bool kToStats>
__global__ void stats_kernel(float *stats, float *lse, StatsPlace place, int64_t count) {
    MEFT_FOR_EACH(i, count) {
        const int32_t query = int32_t(i % place.queries), head = int32_t(i / place.queries % place.heads);
        const int64_t sequence = i / place.queries / place.heads;
        const bool inside = query < place.lengths[sequence];
        float *at = lse + int64_t(place.begins[sequence] + query) * place.heads + head;
        if (!kToStats && inside) *at = stats[i];
        if (kToStats) stats[i] = inside ? *at : 0.f;
    }
}

// The arrays of one call in the form of fused kernels.
class Staged {
public:
    Staged(Operands &on, const Layout &layout, int32_t dtype) : on_(on), layout_(layout), dtype_(dtype) {
        const FusedShape &s = layout.shape;
        q_width_ = s.heads * s.head_dim;
        k_width_ = s.kv_heads * s.head_dim;
        arrays.stats = on.scratch<float>(stats_count());
        place_ = {on.in(begins(layout.q_lengths, layout.q_begin, 1).data(), s.batch),
                  on.in(layout.q_lengths.data(), s.batch), int32_t(s.heads), int32_t(s.queries)};
        if (!s.ragged) return;
        arrays.q_lengths = place_.lengths;
        arrays.k_lengths = on.in(layout.k_lengths.data(), s.batch);
        arrays.q_offsets = on.in(begins(layout.q_lengths, 0, q_width_).data(), s.batch + 1);
        arrays.k_offsets = on.in(begins(layout.k_lengths, 0, k_width_).data(), s.batch + 1);
    }

    FusedArrays arrays = {};

    const __nv_bfloat16 *queries_in(const void *x) { return in(x, layout_.q_begin, layout_.q_rows, q_width_); }
    const __nv_bfloat16 *keys_in(const void *x) { return in(x, layout_.k_begin, layout_.k_rows, k_width_); }
    __nv_bfloat16 *queries_out(void *x) { return out(x, layout_.q_begin, layout_.q_rows, q_width_); }
    __nv_bfloat16 *keys_out(void *x) { return out(x, layout_.k_begin, layout_.k_rows, k_width_); }

    void stats_from(float *lse) { turn(stats_kernel<true>, lse); }
    void stats_to(float *lse) { turn(stats_kernel<false>, lse); }

    // Widens what was written into arrays of f32.
    void finish() {
        for (const Wide &wide : wide_) {
            MEFT_LAUNCH((convert_kernel<float, __nv_bfloat16>), grid_of(wide.count), kThreads, 0, on_.stream, wide.to,
                        wide.from, wide.count);
        }
    }

private:
    struct Wide {
        float *to;
        const __nv_bfloat16 *from;
        int64_t count;
    };

    int64_t stats_count() const { return layout_.shape.batch * layout_.shape.heads * layout_.shape.queries; }

    // Where the sequences begin, and the last ends, in units of `width`.
    static std::vector<int32_t> begins(const std::vector<int32_t> &lengths, int32_t first, int64_t width) {
        std::vector<int32_t> found = {first};
        for (const int32_t length : lengths) found.push_back(found.back() + int32_t(length * width));
        return found;
    }

    const __nv_bfloat16 *in(const void *x, int64_t begin, int64_t rows, int64_t width) {
        if (dtype_ == MEFT_BF16) return static_cast<const __nv_bfloat16 *>(x) + begin * width;
        const int64_t count = rows * width;
        __nv_bfloat16 *narrow = on_.scratch<__nv_bfloat16>(count);
        MEFT_LAUNCH((convert_kernel<__nv_bfloat16, float>), grid_of(count), kThreads, 0, on_.stream, narrow,
                    static_cast<const float *>(x) + begin * width, count);
        return narrow;
    }
    __nv_bfloat16 *out(void *x, int64_t begin, int64_t rows, int64_t width) {
        if (dtype_ == MEFT_BF16) return static_cast<__nv_bfloat16 *>(x) + begin * width;
        __nv_bfloat16 *narrow = on_.scratch<__nv_bfloat16>(rows * width);
        wide_.push_back({static_cast<float *>(x) + begin * width, narrow, rows * width});
        return narrow;
    }
    template <class Kernel>
    void turn(Kernel kernel, float *lse) {
        MEFT_LAUNCH(kernel, grid_of(stats_count()), kThreads, 0, on_.stream, arrays.stats, lse, place_, stats_count());
    }

    Operands &on_;
    const Layout &layout_;
    const int32_t dtype_;
    int64_t q_width_, k_width_;
    StatsPlace place_;
    std::vector<Wide> wide_;
};

}  // namespace

bool attention_forward_fused(meft_ctx &lane, Operands &on, const AttentionCall &call, const int32_t *spans,
                             const meft_attention &params) {
    Layout layout;
    if (!lay_out(layout, spans, params) || !can_fuse(lane, layout.shape, Direction::forward)) return false;
    Staged staged(on, layout, call.dtype);
    FusedArrays &arrays = staged.arrays;
    arrays.q = staged.queries_in(call.q);
    arrays.k = staged.keys_in(call.k);
    arrays.v = staged.keys_in(call.v);
    arrays.o = staged.queries_out(call.o);
    fused_forward(lane, on, layout.shape, arrays);
    staged.stats_to(call.lse);
    staged.finish();
    return true;
}

bool attention_backward_fused(meft_ctx &lane, Operands &on, const AttentionCall &call, const int32_t *spans,
                              const meft_attention &params) {
    Layout layout;
    if (!lay_out(layout, spans, params) || !can_fuse(lane, layout.shape, Direction::backward)) return false;
    Staged staged(on, layout, call.dtype);
    FusedArrays &arrays = staged.arrays;
    arrays.q = staged.queries_in(call.q);
    arrays.k = staged.keys_in(call.k);
    arrays.v = staged.keys_in(call.v);
    arrays.o = const_cast<__nv_bfloat16 *>(staged.queries_in(call.o));
    arrays.d_o = staged.queries_in(call.d_o);
    staged.stats_from(call.lse);
    arrays.dq = staged.queries_out(call.dq);
    arrays.dk = staged.keys_out(call.dk);
    arrays.dv = staged.keys_out(call.dv);
    fused_backward(lane, on, layout.shape, arrays);
    staged.finish();
    return true;
}

}  // namespace cuda
}  // namespace meft
