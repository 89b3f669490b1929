// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cinttypes>
#include <cmath>

#include "core/activation.h"
#include "core/guard.h"
#include "core/lane.h"
#include "kernels/kernel_table.h"

using namespace meft;

namespace {

void check_params(const meft_attention *a) {
    check_struct("params", a, sizeof *a);
    check_compute(a->compute);
    check_count("q_rows", a->q_rows);
    check_count("k_rows", a->k_rows);
    check_count("window", a->window);
    check_count("span_count", a->span_count);
    if (a->heads < 1 || a->kv_heads < 1 || a->heads % a->kv_heads != 0) {
        fail(MEFT_INVALID, "heads is %" PRId64 " and kv_heads %" PRId64 ", expected a multiple of 1 or more", a->heads,
             a->kv_heads);
    }
    if (a->head_dim < 1) fail(MEFT_INVALID, "head_dim is %" PRId64 ", expected 1 or more", a->head_dim);
    if (!(a->scale > 0 && a->scale < HUGE_VALF)) {
        fail(MEFT_INVALID, "scale is %g, expected finite and more than 0", double(a->scale));
    }
    if (!(a->softcap >= 0 && a->softcap < HUGE_VALF)) {
        fail(MEFT_INVALID, "softcap is %g, expected finite and 0 or more", double(a->softcap));
    }
    if (a->sees != MEFT_SEES_PAST && a->sees != MEFT_SEES_ALL) {
        fail(MEFT_INVALID, "sees is %d, expected MEFT_SEES_PAST or MEFT_SEES_ALL", a->sees);
    }
}

void check_spans(const int32_t *spans, const meft_attention &a) {
    check_matrix("spans", spans, a.span_count, 4);
    for (int64_t i = 0; i < a.span_count; ++i) {
        const int32_t *s = spans + 4 * i;
        if (s[0] < 0 || s[1] < s[0] || s[1] > a.q_rows) {
            fail(MEFT_INVALID, "span %" PRId64 " has query rows %d to %d, expected a range within 0 to %" PRId64, i,
                 s[0], s[1], a.q_rows);
        }
        if (s[2] < 0 || s[3] < s[2] || s[3] > a.k_rows) {
            fail(MEFT_INVALID, "span %" PRId64 " has key rows %d to %d, expected a range within 0 to %" PRId64, i, s[2],
                 s[3], a.k_rows);
        }
        if ((a.sees == MEFT_SEES_PAST || a.window > 0) && s[1] - s[0] > s[3] - s[2]) {
            fail(MEFT_INVALID, "span %" PRId64 " has %d queries and %d keys, expected no more queries than keys", i,
                 s[1] - s[0], s[3] - s[2]);
        }
    }
}

void check_queries(const char *name, const void *x, const meft_attention &a) {
    check_tensor(name, x, {a.q_rows, a.heads, a.head_dim});
}
void check_keys(const char *name, const void *x, const meft_attention &a) {
    check_tensor(name, x, {a.k_rows, a.kv_heads, a.head_dim});
}

// The rows that the spans hold, as ranges in increasing order.
struct Ranges {
    struct Range {
        int32_t begin, end;
        int64_t span;
    };
    Range *ranges;
    int64_t count = 0;

    // column 0: query rows, but for those of no keys, 2: key rows. Fails when two spans share a row.
    Ranges(Workspace::Frame &frame, const int32_t *spans, int64_t span_count, int column)
        : ranges(frame.take<Range>(span_count)) {
        for (int64_t i = 0; i < span_count; ++i) {
            const int32_t *s = spans + 4 * i + column;
            if (s[0] < s[1]) ranges[count++] = {s[0], s[1], i};
        }
        std::sort(ranges, ranges + count, [](const Range &a, const Range &b) { return a.begin < b.begin; });
        for (int64_t i = 1; i < count; ++i) {
            if (ranges[i].begin < ranges[i - 1].end) {
                fail(MEFT_INVALID, "spans %" PRId64 " and %" PRId64 " share %s row %d", ranges[i - 1].span,
                     ranges[i].span, column == 0 ? "query" : "key", ranges[i].begin);
            }
        }
        const auto has_no_keys = [&](const Range &range) {
            return spans[4 * range.span + 2] == spans[4 * range.span + 3];
        };
        count = std::remove_if(ranges, ranges + count, has_no_keys) - ranges;
    }

    // Zeros the rows of x (rows, width) outside of the ranges.
    void zero_rest(meft_ctx &ctx, Activation x, int64_t rows, int64_t width) const {
        const int64_t row_bytes = width * activation_bytes(x.dtype);
        int64_t row = 0;
        for (int64_t i = 0; i <= count; ++i) {
            const int64_t next = i < count ? ranges[i].begin : rows;
            if (next > row) zero_bytes(ctx, static_cast<char *>(x.data) + row * row_bytes, (next - row) * row_bytes);
            if (i < count) row = ranges[i].end;
        }
    }
};

}  // namespace

extern "C" {

meft_status meft_attention_forward(meft_ctx *ctx, void *o, float *lse, const void *q, const void *k, const void *v,
                                   const int32_t *spans, const meft_attention *params) {
    return guarded(ctx, "attention_forward", [&] {
        check_params(params);
        const meft_attention &a = *params;
        check_spans(spans, a);
        check_queries("o", o, a);
        check_matrix("lse", lse, a.q_rows, a.heads);
        check_queries("q", q, a);
        check_keys("k", k, a);
        check_keys("v", v, a);
        Workspace::Frame frame(ctx->workspace);
        const Ranges queries(frame, spans, a.span_count, 0);
        queries.zero_rest(*ctx, {o, a.compute}, a.q_rows, a.heads * a.head_dim);
        queries.zero_rest(*ctx, {lse, MEFT_F32}, a.q_rows, a.heads);
        present(ctx->kernels->attention->forward)(*ctx, o, lse, q, k, v, spans, a);
    });
}

meft_status meft_attention_backward(meft_ctx *ctx, void *dq, void *dk, void *dv, const void *d_o, const void *q,
                                    const void *k, const void *v, const void *o, const float *lse, const int32_t *spans,
                                    const meft_attention *params) {
    return guarded(ctx, "attention_backward", [&] {
        check_params(params);
        const meft_attention &a = *params;
        check_spans(spans, a);
        check_queries("dq", dq, a);
        check_keys("dk", dk, a);
        check_keys("dv", dv, a);
        check_queries("d_o", d_o, a);
        check_queries("q", q, a);
        check_keys("k", k, a);
        check_keys("v", v, a);
        check_queries("o", o, a);
        check_matrix("lse", lse, a.q_rows, a.heads);
        Workspace::Frame frame(ctx->workspace);
        const Ranges queries(frame, spans, a.span_count, 0), keys(frame, spans, a.span_count, 2);
        queries.zero_rest(*ctx, {dq, a.compute}, a.q_rows, a.heads * a.head_dim);
        keys.zero_rest(*ctx, {dk, a.compute}, a.k_rows, a.kv_heads * a.head_dim);
        keys.zero_rest(*ctx, {dv, a.compute}, a.k_rows, a.kv_heads * a.head_dim);
        present(ctx->kernels->attention->backward)(*ctx, dq, dk, dv, d_o, q, k, v, o, lse, spans, a);
    });
}

}  // extern "C"
