// SPDX-License-Identifier: Apache-2.0
// Gate factors and their gradients, a token at a time, in f32.
#include "cpu/sparse_gate.h"

#include "core/pool.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

int64_t tokens_per_task(int64_t experts) { return experts >= 4096 ? 1 : 4096 / experts; }

void softmax_row(float *c, const float *g, int64_t experts) {
    float top = g[0];
    for (int64_t e = 1; e < experts; ++e) top = g[e] > top ? g[e] : top;
    float total = 0;
    for (int64_t e = 0; e < experts; e += kLanes) {
        const int n = experts - e < kLanes ? int(experts - e) : kLanes;
        const vf x = exp(sub(load_part(g + e, n), set1(top)));
        store_part(c + e, x, n);
        for (int i = 0; i < n; ++i) total += c[e + i];
    }
    const float scale = 1 / total;
    for (int64_t e = 0; e < experts; ++e) c[e] *= scale;
}

void sigmoid_row(float *c, const float *g, int64_t experts) {
    each_vector(0, experts, [&](int64_t e, auto lanes) {
        store(c + e, div(set1(1.f), add(set1(1.f), exp(sub(zero(), load(g + e, lanes))))), lanes);
    });
}

bool all_finite(const float *g, int64_t experts) {
    vf zeros = zero();
    each_vector(0, experts, [&](int64_t e, auto lanes) { zeros = fma(load(g + e, lanes), zero(), zeros); });
    return sum(zeros) == 0;
}

}  // namespace

GateFactors gate_factors(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const float *logits,
                         const meft_sparse &params) {
    const int64_t tokens = params.tokens, experts = params.experts;
    const bool computed = params.gate == MEFT_GATE_SOFTMAX || params.gate == MEFT_GATE_SIGMOID;
    float *factors = computed ? frame.take<float>(tokens * experts) : nullptr;
    parallel_chunks(lane, tokens, tokens_per_task(experts), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            const float *g = logits + t * experts;
            if (tainted != nullptr) tainted[t] = !all_finite(g, experts);
            if (params.gate == MEFT_GATE_SOFTMAX) softmax_row(factors + t * experts, g, experts);
            if (params.gate == MEFT_GATE_SIGMOID) sigmoid_row(factors + t * experts, g, experts);
        }
    });
    if (params.gate == MEFT_GATE_NONE) return {nullptr, experts};
    return {computed ? factors : logits, experts};
}

void softmax_gradient(meft_ctx &lane, float *dc, const GateFactors &factors, int64_t tokens) {
    const int64_t experts = factors.experts;
    parallel_chunks(lane, tokens, tokens_per_task(experts), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *d = dc + t * experts;
            const float *c = factors.factors + t * experts;
            vf products = zero();
            each_vector(0, experts, [&](int64_t e, auto lanes) {
                products = fma(load(c + e, lanes), load(d + e, lanes), products);
            });
            const vf mean = set1(sum(products));
            each_vector(0, experts, [&](int64_t e, auto lanes) {
                store(d + e, mul(load(c + e, lanes), sub(load(d + e, lanes), mean)), lanes);
            });
        }
    });
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
