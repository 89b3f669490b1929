// SPDX-License-Identifier: Apache-2.0
// Mixture-of-experts: a thread chooses for a token; rows are a block's.
#include "kernels/experts.h"

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

namespace {

// The `active` largest logits, ties to the lower index, by increasing index. A NaN is larger than nothing.
__device__ void largest(int32_t *chosen, const float *logits, int32_t experts, int32_t active) {
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

// softmax(logits)[e] = expf(logits[e] - top) * scale.
struct Softmax {
    float top, scale;
    __device__ Softmax(const float *logits, int64_t experts) : top(logits[0]) {
        for (int64_t e = 1; e < experts; ++e) top = logits[e] > top ? logits[e] : top;
        double total = 0;
        for (int64_t e = 0; e < experts; ++e) total += double(expf(logits[e] - top));
        scale = float(1 / total);
    }
    __device__ float of(float logit) const { return expf(logit - top) * scale; }
    // Sum of the probabilities of the chosen, or 1 where weights are not normalised.
    __device__ float share(const float *logits, const int32_t *chosen, const ExpertSizes &sizes) const {
        if (!sizes.normalised) return 1.0f;
        float total = 0.0f;
        for (int64_t k = 0; k < sizes.active; ++k) total += of(logits[chosen[k]]);
        return total;
    }
};

__device__ void weigh_token(float *weights, const int32_t *chosen, const float *logits, const ExpertSizes &sizes) {
    const Softmax p(logits, sizes.experts);
    const float total = p.share(logits, chosen, sizes);
    for (int64_t k = 0; k < sizes.active; ++k) weights[k] = p.of(logits[chosen[k]]) / total;
}

__global__ void choose_kernel(float *weights, int32_t *chosen, const float *logits, ExpertSizes sizes) {
    MEFT_FOR_EACH(t, sizes.tokens) {
        const float *row = logits + t * sizes.experts;
        int32_t *own = chosen + t * sizes.active;
        largest(own, row, int32_t(sizes.experts), int32_t(sizes.active));
        weigh_token(weights + t * sizes.active, own, row, sizes);
    }
}

__global__ void weigh_kernel(float *weights, const int32_t *chosen, const float *logits, ExpertSizes sizes) {
    MEFT_FOR_EACH(t, sizes.tokens) {
        weigh_token(weights + t * sizes.active, chosen + t * sizes.active, logits + t * sizes.experts, sizes);
    }
}

void choose(meft_ctx &lane, float *weights, int32_t *chosen, const float *logits, const ExpertSizes &sizes) {
    const int64_t count = sizes.tokens * sizes.active;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(choose_kernel, grid_of(sizes.tokens), kThreads, 0, on.stream, on.out(weights, count),
                    on.out(chosen, count), on.in(logits, sizes.tokens * sizes.experts), sizes);
    });
}

void weigh(meft_ctx &lane, float *weights, const int32_t *chosen, const float *logits, const ExpertSizes &sizes) {
    const int64_t count = sizes.tokens * sizes.active;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(weigh_kernel, grid_of(sizes.tokens), kThreads, 0, on.stream, on.out(weights, count),
                    on.in(chosen, count), on.in(logits, sizes.tokens * sizes.experts), sizes);
    });
}

// With p = softmax(logits), w_k = p[c_k] / share and m = sum of w_k dw_k:  dlogits[c_k] = w_k (dw_k - m) where weights
// are normalised; else dlogits = p (dw_k or 0, - m).
__global__ void choose_backward_kernel(float *dlogits, const float *dweights, const float *logits,
                                       const int32_t *chosen, ExpertSizes sizes) {
    MEFT_FOR_EACH(t, sizes.tokens) {
        const float *row = logits + t * sizes.experts, *dw = dweights + t * sizes.active;
        const int32_t *own = chosen + t * sizes.active;
        const Softmax p(row, sizes.experts);
        const float total = p.share(row, own, sizes);
        float mean = 0.0f;
        for (int64_t k = 0; k < sizes.active; ++k) mean += p.of(row[own[k]]) / total * dw[k];
        for (int64_t e = 0, k = 0; e < sizes.experts; ++e) {
            const bool is = k < sizes.active && own[k] == e;
            const float slope = is ? dw[k++] - mean : sizes.normalised ? 0.0f : -mean;
            dlogits[t * sizes.experts + e] = p.of(row[e]) / total * slope;
        }
    }
}

void choose_backward(meft_ctx &lane, float *dlogits, const float *dweights, const float *logits, const int32_t *chosen,
                     const ExpertSizes &sizes) {
    const int64_t count = sizes.tokens * sizes.experts, own = sizes.tokens * sizes.active;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(choose_backward_kernel, grid_of(sizes.tokens), kThreads, 0, on.stream, on.out(dlogits, count),
                    on.in(dweights, own), on.in(logits, count), on.in(chosen, own), sizes);
    });
}

template <class Y, class X>
__global__ void gather_kernel(Y *y, const X *x, const int32_t *rows, int64_t width) {
    const int64_t to = int64_t(blockIdx.x) * width, from = rows[blockIdx.x] * width;
    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) store_element(y + to + i, load_element(x + from + i));
}

void gather(meft_ctx &lane, Activation y, ConstActivation x, const int32_t *rows, int64_t count, int64_t x_rows,
            int64_t width) {
    if (count == 0 || width == 0) return;
    on_device(lane, [&](Operands &on) {
        void *to = on.out(y, count * width);
        const void *from = on.in(x, x_rows * width);
        const int32_t *numbers = on.in(rows, count);
        with_activation(y.dtype, [&](auto out) {
            with_activation(x.dtype, [&](auto in) {
                using Y = decltype(out);
                using X = decltype(in);
                const auto kernel = gather_kernel<Y, X>;
                MEFT_LAUNCH(kernel, dim3(unsigned(count)), kThreads, 0, on.stream, static_cast<Y *>(to),
                            static_cast<const X *>(from), numbers, width);
            });
        });
    });
}

// y[t] (+)= sum over k, in order, of weights[t,k] x[places[t,k]].
template <class X>
__global__ void combine_kernel(float *y, const X *x, const int32_t *places, const float *weights, int64_t active,
                               int64_t width, bool accumulate) {
    const int64_t first = int64_t(blockIdx.x) * active;
    float *to = y + int64_t(blockIdx.x) * width;
    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
        float total = accumulate ? to[i] : 0.0f;
        for (int64_t slot = first; slot < first + active; ++slot) {
            total += (weights != nullptr ? weights[slot] : 1.0f) * load_element(x + places[slot] * width + i);
        }
        to[i] = total;
    }
}

void combine(meft_ctx &lane, float *y, ConstActivation x, const int32_t *places, const float *weights, int64_t tokens,
             int64_t active, int64_t width, bool accumulate) {
    const int64_t count = tokens * width, slots = tokens * active;
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        float *to = accumulate ? on.inout(y, count) : on.out(y, count);
        const void *from = on.in(x, slots * width);
        const int32_t *numbers = on.in(places, slots);
        const float *factors = on.in(weights, slots);
        with_activation(x.dtype, [&](auto in) {
            using X = decltype(in);
            MEFT_LAUNCH(combine_kernel<X>, dim3(unsigned(tokens)), kThreads, 0, on.stream, to,
                        static_cast<const X *>(from), numbers, factors, active, width, accumulate);
        });
    });
}

// dweights[slot] = dy . x,  dx = weights[slot] * dy.
template <class E>
__global__ void __launch_bounds__(kThreads)
    weigh_backward_kernel(E *dx, float *dweights, const E *dy, const E *x, const int32_t *slots, const float *weights,
                          int64_t width) {
    __shared__ float parts[32];
    const int64_t at = int64_t(blockIdx.x) * width;
    const int32_t slot = slots[blockIdx.x];
    const float weight = weights[slot];
    float products = 0.0f;
    for (int64_t i = threadIdx.x; i < width; i += kThreads) {
        const float d = load_element(dy + at + i);
        products += d * load_element(x + at + i);
        store_element(dx + at + i, weight * d);
    }
    products = block_sum(products, parts);
    if (threadIdx.x == 0) dweights[slot] = products;
}

void weigh_backward(meft_ctx &lane, void *dx, float *dweights, const void *dy, const void *x, const int32_t *slots,
                    const float *weights, int64_t count, int64_t width, int32_t dtype) {
    if (count == 0) return;
    with_activation(dtype, [&](auto element) {
        using E = decltype(element);
        on_device(lane, [&](Operands &on) {
            E *to = on.out(static_cast<E *>(dx), count * width);
            const E *d = on.in(static_cast<const E *>(dy), count * width);
            const E *from = on.in(static_cast<const E *>(x), count * width);
            MEFT_LAUNCH(weigh_backward_kernel<E>, dim3(unsigned(count)), kThreads, 0, on.stream, to,
                        on.out(dweights, count), d, from, on.in(slots, count), on.in(weights, count), width);
        });
    });
}

}  // namespace

extern const experts_kernels experts_table;
const experts_kernels experts_table = {choose, weigh, choose_backward, gather, combine, weigh_backward};

}  // namespace cuda
}  // namespace meft
