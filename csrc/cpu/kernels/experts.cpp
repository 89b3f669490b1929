// SPDX-License-Identifier: Apache-2.0
// Mixture-of-experts: which experts a token takes, rows brought together by expert, and their weighted sums.
#include "kernels/experts.h"

#include "core/pool.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 14;  // elements of one piece of work

int64_t rows_per_chunk(int64_t width) { return kChunk / (width + 1) + 1; }

// The `active` largest logits, ties to the lower index, by increasing index. A NaN is larger than nothing.
void largest(int32_t *chosen, const float *logits, const ExpertSizes &sizes) {
    const int32_t experts = int32_t(sizes.experts), active = int32_t(sizes.active);
    for (int32_t e = 0; e < experts; ++e) {
        int32_t at = e < active ? e : active;
        while (at > 0 && logits[e] > logits[chosen[at - 1]]) --at;
        if (at == active) continue;
        for (int32_t i = e < active ? e : active - 1; i > at; --i) chosen[i] = chosen[i - 1];
        chosen[at] = e;
    }
    for (int32_t i = 1; i < active; ++i) {
        const int32_t e = chosen[i];
        int32_t at = i;
        for (; at > 0 && chosen[at - 1] > e; --at) chosen[at] = chosen[at - 1];
        chosen[at] = e;
    }
}

// to = softmax(logits).
void softmax(float *to, const float *logits, int64_t experts) {
    float top = logits[0];
    for (int64_t e = 1; e < experts; ++e) top = logits[e] > top ? logits[e] : top;
    each_vector(0, experts, [=](int64_t e, auto lanes) {
        store(to + e, exp(sub(load(logits + e, lanes), set1(top))), lanes);
    });
    double total = 0;
    for (int64_t e = 0; e < experts; ++e) total += double(to[e]);
    const vf scale = set1(float(1 / total));
    each_vector(0, experts, [=](int64_t e, auto lanes) { store(to + e, mul(load(to + e, lanes), scale), lanes); });
}

// Sum of the probabilities of the chosen, or 1 where weights are not normalised.
float share(const float *probabilities, const int32_t *chosen, const ExpertSizes &sizes) {
    if (!sizes.normalised) return 1;
    float total = 0;
    for (int64_t k = 0; k < sizes.active; ++k) total += probabilities[chosen[k]];
    return total;
}

void weigh(meft_ctx &lane, float *weights, const int32_t *chosen, const float *logits, const ExpertSizes &sizes) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    float *scratch = frame.take<float>(sizes.tokens * sizes.experts);
    parallel_chunks(lane, sizes.tokens, rows_per_chunk(sizes.experts), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *p = scratch + t * sizes.experts, *w = weights + t * sizes.active;
            const int32_t *own = chosen + t * sizes.active;
            softmax(p, logits + t * sizes.experts, sizes.experts);
            const float total = share(p, own, sizes);
            for (int64_t k = 0; k < sizes.active; ++k) w[k] = p[own[k]] / total;
        }
    });
}

void choose(meft_ctx &lane, float *weights, int32_t *chosen, const float *logits, const ExpertSizes &sizes) {
    parallel_chunks(lane, sizes.tokens, rows_per_chunk(sizes.experts), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) largest(chosen + t * sizes.active, logits + t * sizes.experts, sizes);
    });
    weigh(lane, weights, chosen, logits, sizes);
}

// With p = softmax(logits), w_k = p[c_k] / share and m = sum of w_k dw_k:  dlogits[c_k] = w_k (dw_k - m) where weights
// are normalised; else dlogits = p (dw_k or 0, - m).
void choose_backward(meft_ctx &lane, float *dlogits, const float *dweights, const float *logits, const int32_t *chosen,
                     const ExpertSizes &sizes) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, sizes.tokens, rows_per_chunk(sizes.experts), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *p = dlogits + t * sizes.experts;
            const int32_t *own = chosen + t * sizes.active;
            const float *dw = dweights + t * sizes.active;
            softmax(p, logits + t * sizes.experts, sizes.experts);
            const float total = share(p, own, sizes);
            float mean = 0;
            for (int64_t k = 0; k < sizes.active; ++k) mean += p[own[k]] / total * dw[k];
            // The chosen stand in increasing order: those between them have no weight of their own.
            for (int64_t e = 0, k = 0; e < sizes.experts; ++e) {
                const bool is = k < sizes.active && own[k] == e;
                const float slope = is ? dw[k++] - mean : sizes.normalised ? 0 : -mean;
                p[e] = p[e] / total * slope;
            }
        }
    });
}

void gather(meft_ctx &lane, Activation y, ConstActivation x, const int32_t *rows, int64_t count, int64_t,
            int64_t width) {
    lane.ran_target = kTarget;
    with_activation(y.dtype, [&](auto out) {
        with_activation(x.dtype, [&](auto in) {
            auto *to = static_cast<decltype(out) *>(y.data);
            const auto *from = static_cast<const decltype(in) *>(x.data);
            parallel_chunks(lane, count, rows_per_chunk(width), [=](int64_t begin, int64_t end, int32_t) {
                for (int64_t i = begin; i < end; ++i) convert(to + i * width, from + rows[i] * width, 0, width);
            });
        });
    });
}

// y[t] (+)= sum over k, in order, of weights[t,k] x[places[t,k]]; a token is one task's.
template <class E>
void combine_rows(meft_ctx &lane, float *y, const E *x, const int32_t *places, const float *weights, int64_t tokens,
                  int64_t active, int64_t width, bool accumulate) {
    parallel_chunks(lane, tokens, rows_per_chunk(width * active), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *to = y + t * width;
            if (!accumulate) std::memset(to, 0, size_t(width) * 4);
            for (int64_t slot = t * active; slot < (t + 1) * active; ++slot) {
                const E *from = x + places[slot] * width;
                const vf weight = set1(weights != nullptr ? weights[slot] : 1.f);
                each_vector(0, width, [=](int64_t i, auto lanes) {
                    store(to + i, fma(weight, load(from + i, lanes), load(to + i, lanes)), lanes);
                });
            }
        }
    });
}

void combine(meft_ctx &lane, float *y, ConstActivation x, const int32_t *places, const float *weights, int64_t tokens,
             int64_t active, int64_t width, bool accumulate) {
    lane.ran_target = kTarget;
    with_activation(x.dtype, [&](auto element) {
        combine_rows(lane, y, static_cast<const decltype(element) *>(x.data), places, weights, tokens, active, width,
                     accumulate);
    });
}

// dweights[slot] = dy . x,  dx = weights[slot] * dy, a row at a time.
template <class E>
void weigh_backward_rows(meft_ctx &lane, E *dx, float *dweights, const E *dy, const E *x, const int32_t *slots,
                         const float *weights, int64_t count, int64_t width) {
    parallel_chunks(lane, count, rows_per_chunk(width), [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t at = row * width, slot = slots[row];
            const vf weight = set1(weights[slot]);
            vf products = zero();
            each_vector(at, at + width, [&](int64_t i, auto lanes) {
                const vf d = load(dy + i, lanes);
                products = fma(d, load(x + i, lanes), products);
                store(dx + i, mul(weight, d), lanes);
            });
            dweights[slot] = sum(products);
        }
    });
}

void weigh_backward(meft_ctx &lane, void *dx, float *dweights, const void *dy, const void *x, const int32_t *slots,
                    const float *weights, int64_t count, int64_t width, int32_t dtype) {
    lane.ran_target = kTarget;
    with_activation(dtype, [&](auto element) {
        typedef decltype(element) E;
        weigh_backward_rows(lane, static_cast<E *>(dx), dweights, static_cast<const E *>(dy),
                            static_cast<const E *>(x), slots, weights, count, width);
    });
}

}  // namespace

extern const experts_kernels experts_table;
const experts_kernels experts_table = {choose, weigh, choose_backward, gather, combine, weigh_backward};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
