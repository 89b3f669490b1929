// SPDX-License-Identifier: Apache-2.0
// The router: logits g = W_g h in f32, and the experts with the largest of them.
#include "kernels/sparse_route.h"

#include "core/pool.h"
#include "cpu/product.h"
#include "cpu/top_k.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kTokensPerTask = 32;
constexpr int64_t kWideTokens = 192;  // from here on packing W_g pays; below, packing the tokens

// The `active` largest logits, ties to the lowest expert, in increasing order. NaN counts as -infinity, so that the
// choice is defined; the forward pass turns such a token's output into NaN.
void choose_experts(int32_t *chosen, const float *logits, float *scores, int64_t experts, int64_t active) {
    for (int64_t e = 0; e < experts; ++e) scores[e] = logits[e] == logits[e] ? logits[e] + 0.f : -HUGE_VALF;
    TopCut cut = top_cut(scores, experts, active);
    each_vector(0, experts, [&](int64_t e, auto lanes) {
        uint32_t mask = cut.keep(load(scores + e, lanes), lane_mask(lanes));
        for (; mask != 0; mask &= mask - 1) *chosen++ = int32_t(e) + __builtin_ctz(mask);
    });
}

void route(meft_ctx &lane, float *logits, int32_t *experts, int32_t *expert_tokens, const float *h,
           const float *gate_weight, const meft_sparse &params) {
    lane.ran_target = kTarget;
    const int64_t tokens = params.tokens, count = params.experts, hidden = params.hidden;
    const int64_t active = params.active_experts;
    for (int64_t e = 0; e < count && expert_tokens != nullptr; ++e) expert_tokens[e] = 0;
    if (tokens == 0) return;
    const Matrix rows = matrix(h, hidden), gate = matrix(gate_weight, hidden);
    if (tokens < kWideTokens) {
        narrow_product<F32>(lane, {logits, count, gate, false, rows, true, count, tokens, hidden, false});
    } else {
        wide_product<F32>(lane, {logits, count, rows, false, gate, true, tokens, count, hidden, false});
    }
    if (experts == nullptr) return;
    Workspace::Frame frame(lane.workspace);
    float *scores = frame.take<float>(lane.threads * count);
    parallel_chunks(lane, tokens, kTokensPerTask, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t t = begin; t < end; ++t) {
            choose_experts(experts + t * active, logits + t * count, scores + thread * count, count, active);
        }
    });
    for (int64_t i = 0; i < tokens * active; ++i) ++expert_tokens[experts[i]];
}

}  // namespace

extern const sparse_route_kernels sparse_route_table;
const sparse_route_kernels sparse_route_table = {route};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
