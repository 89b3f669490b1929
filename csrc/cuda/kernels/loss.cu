// SPDX-License-Identifier: Apache-2.0
// Cross-entropy, one block a row: largest logit and sum of exponentials in one pass, the gradient in a second.
#include "kernels/loss.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

constexpr int kRowThreads = 512;
constexpr unsigned kFullMask = 0xffffffffu;

// top: the largest of some logits, -infinity for none; sum: of e^(x - top). A NaN makes sum NaN and leaves top.
struct ExpSum {
    float top, sum;
};

// e^(top - higher). While nothing but -infinity was seen the sum is 0 or NaN, and stays it.
__device__ __forceinline__ float rescale(float top, float higher) {
    return top == -INFINITY ? 1.f : expf(top - higher);
}

__device__ __forceinline__ void take(ExpSum &s, float x) {
    const float higher = fmaxf(s.top, x);
    s.sum = s.sum * rescale(s.top, higher) + (x == -INFINITY ? 0.f : expf(x - higher));
    s.top = higher;
}

__device__ __forceinline__ ExpSum joined(const ExpSum &a, const ExpSum &b) {
    const float higher = fmaxf(a.top, b.top);
    return {higher, a.sum * rescale(a.top, higher) + b.sum * rescale(b.top, higher)};
}

__device__ __forceinline__ ExpSum warp_joined(ExpSum s) {
    for (int by = 16; by; by >>= 1) {
        const ExpSum other = {__shfl_xor_sync(kFullMask, s.top, by), __shfl_xor_sync(kFullMask, s.sum, by)};
        // In lane order, so that both partners get the same bits.
        s = threadIdx.x & by ? joined(other, s) : joined(s, other);
    }
    return s;
}

__device__ __forceinline__ ExpSum block_joined(ExpSum s) {
    __shared__ ExpSum parts[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    s = warp_joined(s);
    if (lane == 0) parts[warp] = s;
    __syncthreads();
    return warp_joined(lane < kRowThreads / 32 ? parts[lane] : ExpSum{-INFINITY, 0.f});
}

// A logit z of x: x itself, or cap * tanh(x / cap); dz/dx = 1 - (z / cap)^2.
__device__ __forceinline__ float capped(float x, float cap) { return cap > 0.0f ? cap * tanhf(x / cap) : x; }
__device__ __forceinline__ float slope(float z, float cap) { return 1.0f - (z / cap) * (z / cap); }

// With z for x:  loss = log(sum e^(x-m)) + m - x[target];  dx = scale * (e^(x-m)/sum - [i = target]).
template <int kWidth>
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_kernel(float *loss, float *logits, const int32_t *targets, int64_t vocabulary, float scale,
                         float cap) {
    float *x = logits + int64_t(blockIdx.x) * vocabulary;
    const int32_t target = targets[blockIdx.x];
    if (target < 0) {
        if (threadIdx.x == 0) loss[blockIdx.x] = 0;
        if (scale == 0) return;
        for (int64_t i = threadIdx.x * kWidth; i < vocabulary; i += kRowThreads * kWidth)
            store(x + i, Floats<kWidth>{});
        return;
    }
    ExpSum mine = {-INFINITY, 0.f};
    for (int64_t i = threadIdx.x * kWidth; i < vocabulary; i += kRowThreads * kWidth) {
        const Floats<kWidth> v = load<kWidth>(x + i);
        for (int j = 0; j < kWidth; ++j) take(mine, capped(v.at[j], cap));
    }
    const float at_target = capped(x[target], cap);
    const ExpSum all = block_joined(mine);  // a barrier: nobody writes before all have read
    // Only -infinity: there is no distribution, as e^(x-m) = NaN says in the formula.
    const float total = all.top == -INFINITY ? NAN : all.sum;
    if (threadIdx.x == 0) loss[blockIdx.x] = float(log(double(total)) + (double(all.top) - double(at_target)));
    if (scale == 0) return;
    const float factor = float(double(scale) / double(total));
    const float at = float(double(scale) * (exp(double(at_target) - double(all.top)) / double(total) - 1));
    for (int64_t i = threadIdx.x * kWidth; i < vocabulary; i += kRowThreads * kWidth) {
        Floats<kWidth> v = load<kWidth>(x + i);
        for (int j = 0; j < kWidth; ++j) {
            const float z = capped(v.at[j], cap);
            v.at[j] = i + j == target ? at : expf(z - all.top) * factor;
            if (cap > 0.0f) v.at[j] *= slope(z, cap);
        }
        store(x + i, v);
    }
}

void cross_entropy(meft_ctx &lane, float *loss, float *logits, const int32_t *targets, int64_t tokens,
                   int64_t vocabulary, float scale, float softcap) {
    if (tokens == 0) return;
    on_device(lane, [&](Operands &on) {
        const int64_t count = tokens * vocabulary;
        float *x = scale != 0 ? on.inout(logits, count) : const_cast<float *>(on.in(logits, count));
        const auto kernel = vocabulary % 4 == 0 && fours(x) ? cross_entropy_kernel<4> : cross_entropy_kernel<1>;
        MEFT_LAUNCH(kernel, dim3(unsigned(tokens)), kRowThreads, 0, on.stream, on.out(loss, tokens), x,
                    on.in(targets, tokens), vocabulary, scale, softcap);
    });
}

}  // namespace

extern const loss_kernels loss_table;
const loss_kernels loss_table = {cross_entropy};

}  // namespace cuda
}  // namespace meft
