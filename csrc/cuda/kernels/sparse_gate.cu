// SPDX-License-Identifier: Apache-2.0
// Gate factors and their gradients, a warp a token; running sums.
#include "cuda/kernels/sparse_gate.cuh"

#include "cuda/kernels/sparse_cut.cuh"

namespace meft {
namespace cuda {

namespace {

constexpr int kTokensPerBlock = kThreads / 32;

__global__ void gate_factors_kernel(float *factors, int32_t *tainted, const float *logits, int64_t tokens,
                                    int64_t experts, int32_t gate) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= tokens) return;
    const int lane = threadIdx.x & 31;
    const float *g = logits + token * experts;
    float top = -INFINITY, zeros = 0;
    for (int64_t e = lane; e < experts; e += 32) {
        top = fmaxf(top, g[e]);
        zeros += g[e] * 0.f;  // NaN where one is not finite
    }
    top = warp_max(top);
    zeros = warp_sum(zeros);
    if (tainted != nullptr && lane == 0) tainted[token] = zeros == 0 ? 0 : 1;
    if (factors == nullptr) return;
    float *c = factors + token * experts;
    if (gate == MEFT_GATE_SIGMOID) {
        for (int64_t e = lane; e < experts; e += 32) c[e] = 1.f / (1.f + expf(-g[e]));
        return;
    }
    float total = 0;
    for (int64_t e = lane; e < experts; e += 32) total += c[e] = expf(g[e] - top);
    const float scale = 1 / warp_sum(total);
    for (int64_t e = lane; e < experts; e += 32) c[e] *= scale;
}

__global__ void softmax_gradient_kernel(float *dc, GateFactors factors, int64_t tokens) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= tokens) return;
    const int lane = threadIdx.x & 31;
    const float *c = factors.factors + token * factors.experts;
    float *d = dc + token * factors.experts, mean = 0;
    for (int64_t e = lane; e < factors.experts; e += 32) mean += c[e] * d[e];
    mean = warp_sum(mean);
    for (int64_t e = lane; e < factors.experts; e += 32) d[e] = c[e] * (d[e] - mean);
}

// A warp's running sum of v, this lane's included.
__device__ __forceinline__ int64_t warp_running_sum(int64_t v) {
    for (int by = 1; by < 32; by <<= 1) {
        const int64_t lower = __shfl_up_sync(kWarpMask, v, unsigned(by));
        if (int(threadIdx.x & 31) >= by) v += lower;
    }
    return v;
}

}  // namespace

__global__ void __launch_bounds__(1024)
    running_sums_kernel(int32_t *offsets, int64_t *total, const int32_t *counts, int64_t count) {
    __shared__ int64_t warps[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int64_t before = 0;  // the sum of all counts of earlier rounds
    for (int64_t begin = 0; begin < count; begin += blockDim.x) {
        const int64_t i = begin + threadIdx.x;
        const int64_t mine = warp_running_sum(i < count ? counts[i] : 0);
        if (lane == 31) warps[warp] = mine;
        __syncthreads();
        const int64_t sums = warp_running_sum(warps[lane]);
        const int64_t earlier = __shfl_sync(kWarpMask, sums, warp > 0 ? warp - 1 : 0);
        const int64_t whole = before + mine + (warp > 0 ? earlier : 0);
        if (i < count) offsets[i + 1] = int32_t(min(whole, int64_t(INT32_MAX)));
        before += __shfl_sync(kWarpMask, sums, 31);
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    offsets[0] = 0;
    total[0] = before;
}

void running_sums(cudaStream_t stream, int32_t *offsets, int64_t *total, const int32_t *counts, int64_t count) {
    MEFT_LAUNCH(running_sums_kernel, 1, 1024, 0, stream, offsets, total, counts, count);
}

GateFactors gate_factors(Operands &on, int32_t *tainted, const float *logits, const meft_sparse &params) {
    const int64_t tokens = params.tokens, experts = params.experts;
    const bool computed = params.gate == MEFT_GATE_SOFTMAX || params.gate == MEFT_GATE_SIGMOID;
    float *factors = computed ? on.scratch<float>(tokens * experts) : nullptr;
    if (computed || tainted != nullptr) {
        const unsigned blocks = unsigned((tokens + kTokensPerBlock - 1) / kTokensPerBlock);
        MEFT_LAUNCH(gate_factors_kernel, dim3(blocks), kThreads, 0, on.stream, factors, tainted, logits, tokens,
                    experts, params.gate);
    }
    if (params.gate == MEFT_GATE_NONE) return {nullptr, experts};
    return {computed ? factors : logits, experts};
}

void softmax_gradient(cudaStream_t stream, float *dc, const GateFactors &factors, int64_t tokens) {
    MEFT_LAUNCH(softmax_gradient_kernel, dim3(unsigned((tokens + kTokensPerBlock - 1) / kTokensPerBlock)), kThreads, 0,
                stream, dc, factors, tokens);
}

}  // namespace cuda
}  // namespace meft
