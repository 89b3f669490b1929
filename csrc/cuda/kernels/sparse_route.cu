// SPDX-License-Identifier: Apache-2.0
// The router: logits g = W_g h in f32, and the experts with the largest of them.
#include "kernels/sparse_route.h"

#include "cuda/kernels/product_f32.cuh"
#include "cuda/kernels/sparse_cut.cuh"

namespace meft {
namespace cuda {

namespace {

constexpr int kTokensPerBlock = kThreads / 32;

// The `active` largest logits of a token, ties to the lowest expert, in increasing order; a warp a token. NaN counts as
// -infinity, so that the choice is defined; the forward pass turns such a token's output into NaN.
__global__ void choose_experts_kernel(int32_t *chosen, int32_t *expert_tokens, const float *logits, int64_t tokens,
                                      int32_t experts, int32_t active) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= tokens) return;
    const int lane = threadIdx.x & 31;
    const float *g = logits + token * experts;
    const auto key = [&](int32_t e) { return ordered_key(g[e] == g[e] ? g[e] + 0.f : -INFINITY); };
    int count = 0;
    TopCut cut = warp_cut(active, &count, [&](auto body) {
        for (int32_t e = lane; e < experts; e += 32) body(key(e));
    });
    int32_t *to = chosen + token * active;
    for (int32_t begin = 0; begin < experts; begin += 32) {
        const int32_t e = begin + lane;
        int place = 0, kept = 0;
        if (warp_keeps(cut, e < experts ? key(e) : 0u, &place, &kept)) {
            to[place] = e;
            atomicAdd(expert_tokens + e, 1);
        }
        to += kept;
    }
}

void route(meft_ctx &lane, float *logits, int32_t *experts, int32_t *expert_tokens, const float *h,
           const float *gate_weight, const meft_sparse &params) {
    const int64_t tokens = params.tokens, count = params.experts, hidden = params.hidden;
    on_device(lane, [&](Operands &on) {
        int32_t *loads = expert_tokens != nullptr ? on.out(expert_tokens, count) : nullptr;
        if (loads != nullptr) fill_zero(loads, count * int64_t(sizeof(int32_t)), on.stream);
        if (tokens == 0) return;
        float *g = on.out(logits, tokens * count);
        product_f32(on.stream, g, {on.in(h, tokens * hidden), hidden, 1},
                    {on.in(gate_weight, count * hidden), hidden, 1}, tokens, count, hidden, false);
        if (experts == nullptr) return;
        MEFT_LAUNCH(choose_experts_kernel, dim3(unsigned((tokens + kTokensPerBlock - 1) / kTokensPerBlock)), kThreads,
                    0, on.stream, on.out(experts, tokens * params.active_experts), loads, g, tokens, int32_t(count),
                    int32_t(params.active_experts));
    });
}

}  // namespace

extern const sparse_route_kernels sparse_route_table;
const sparse_route_kernels sparse_route_table = {route};

}  // namespace cuda
}  // namespace meft
