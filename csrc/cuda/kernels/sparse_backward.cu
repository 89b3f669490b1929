// SPDX-License-Identifier: Apache-2.0
// The sparse adapter, backward. For a pair p = (t, j) that fired, e the expert of j, c the gate factor of (t, e):
//   dscore_p = dy_t . value_j       dvalue_j += score_p dy_t
//   ddot_p = c dscore_p             dkey_j += ddot_p h_t       dh_t += ddot_p key_j
//   dc_te = sum over the token's pairs of e of dot_p dscore_p, dg by the gate (sparse_gate.cuh)
//   dh_t += sum over e of dg_te W_g[e]       dW_g[e] += dg_te h_t
#include "kernels/sparse_backward.h"

#include "cuda/kernels/product_f32.cuh"
#include "cuda/kernels/sparse_cut.cuh"
#include "cuda/kernels/sparse_gate.cuh"
#include "cuda/kernels/sparse_rows.cuh"

namespace meft {
namespace cuda {

namespace {

// What a call's arrays are on the device.
struct BackwardCall {
    const float *dy, *h;
    FiredPairs pairs;
    GateFactors gate;
    int32_t gate_kind, per_expert;
    float *ddots;  // (P)
    float *dgate;  // (T,N): dc, then dg
};

// dscore of a token's pairs, a warp a pair; then dc of its experts, a thread an expert's run of pairs, and ddot.
template <class Rows>
__global__ void __launch_bounds__(kThreads) score_gradients_kernel(BackwardCall call, Rows values) {
    const int64_t token = blockIdx.x;
    const int32_t first = call.pairs.offsets[token], last = call.pairs.offsets[token + 1];
    const float *dy = call.dy + token * values.hidden;
    for (int32_t p = first + int32_t(threadIdx.x / 32); p < last; p += kThreads / 32) {
        const int32_t neuron = call.pairs.neurons[p];
        float sum = 0;
        for (int64_t i = (threadIdx.x & 31) * Rows::kWidth; i < values.hidden; i += 32 * Rows::kWidth) {
            const Floats<Rows::kWidth> row = values.at(neuron, i), d = load<Rows::kWidth>(dy + i);
            for (int j = 0; j < Rows::kWidth; ++j) sum = __fmaf_rn(d.at[j], row.at[j], sum);
        }
        sum = warp_sum(sum);
        if ((threadIdx.x & 31) == 0) call.ddots[p] = sum;
    }
    __syncthreads();
    for (int32_t p = first + int32_t(threadIdx.x); p < last; p += kThreads) {
        const int32_t expert = call.pairs.neurons[p] / call.per_expert;
        if (p > first && call.pairs.neurons[p - 1] / call.per_expert == expert) continue;
        const float factor = call.gate.at(token, expert);
        float dfactor = 0;
        for (int32_t i = p; i < last && call.pairs.neurons[i] / call.per_expert == expert; ++i) {
            dfactor += call.pairs.dots[i] * call.ddots[i];
            call.ddots[i] *= factor;
        }
        call.dgate[token * call.gate.experts + expert] = gate_gradient(call.gate_kind, factor, dfactor);
    }
}

// dh_t += sum of ddot * key, and, where few experts have one, of dg * W_g[e].
template <class Rows>
__global__ void __launch_bounds__(kThreads)
    dh_kernel(float *dh, BackwardCall call, Rows keys, const float *gate_weight) {
    const int64_t token = blockIdx.x, column = (int64_t(blockIdx.y) * kThreads + threadIdx.x) * Rows::kWidth;
    if (column >= keys.hidden) return;
    float *at = dh + token * keys.hidden + column;
    Floats<Rows::kWidth> sum = load<Rows::kWidth>(at);
    add_rows(sum, keys, call.pairs.neurons, call.ddots, call.pairs.offsets[token], call.pairs.offsets[token + 1],
             column);
    const float *dg = call.dgate + token * call.gate.experts;
    for (int64_t e = 0; gate_weight != nullptr && e < call.gate.experts; ++e) {
        if (dg[e] == 0) continue;
        for (int j = 0; j < Rows::kWidth; ++j) {
            sum.at[j] = __fmaf_rn(dg[e], gate_weight[e * keys.hidden + column + j], sum.at[j]);
        }
    }
    store(at, sum);
}

// dW_g[e] += sum over tokens of dg * h, where few tokens have one.
__global__ void __launch_bounds__(kThreads)
    dgate_weight_kernel(float *dgate_weight, const float *dg, const float *h, int64_t tokens, int64_t hidden) {
    const int64_t expert = blockIdx.x, experts = gridDim.x, column = int64_t(blockIdx.y) * kThreads + threadIdx.x;
    if (column >= hidden) return;
    float sum = dgate_weight[expert * hidden + column];
    for (int64_t t = 0; t < tokens; ++t) {
        const float weight = dg[t * experts + expert];
        if (weight != 0) sum = __fmaf_rn(weight, h[t * hidden + column], sum);
    }
    dgate_weight[expert * hidden + column] = sum;
}

// ---- rows of keys and values

// The pair of a token with a neuron, or -1; a token's neurons increase.
__device__ __forceinline__ int32_t pair_with(const FiredPairs &pairs, int64_t token, int32_t neuron) {
    int32_t first = pairs.offsets[token], last = pairs.offsets[token + 1];
    const int32_t end = last;
    while (first < last) {
        const int32_t middle = first + (last - first) / 2;
        if (pairs.neurons[middle] < neuron) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first < end && pairs.neurons[first] == neuron ? first : -1;
}

// How many tokens have a pair with each neuron; a block a neuron that has a slot.
__global__ void __launch_bounds__(kThreads)
    count_tokens_kernel(int32_t *counts, FiredPairs pairs, const int32_t *slots, int64_t tokens) {
    const int32_t neuron = int32_t(blockIdx.x);
    int32_t count = 0;
    if (slots[neuron] >= 0) {
        for (int64_t begin = 0; begin < tokens; begin += kThreads) {
            const int64_t token = begin + threadIdx.x;
            count += __syncthreads_count(token < tokens && pair_with(pairs, token, neuron) >= 0);
        }
    }
    if (threadIdx.x == 0) counts[neuron] = count;
}

// Pairs by neuron, tokens increasing: those of neuron j are [starts[j], starts[j+1]).
struct PairsByNeuron {
    int32_t *starts;
    int32_t *tokens;
    float *scores, *ddots;
};

__global__ void __launch_bounds__(kThreads)
    sort_pairs_kernel(PairsByNeuron sorted, FiredPairs pairs, const float *ddots, int64_t tokens) {
    __shared__ int32_t warp_counts[kThreads / 32];
    const int32_t neuron = int32_t(blockIdx.x), lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    int32_t at = sorted.starts[neuron];
    if (at == sorted.starts[neuron + 1]) return;
    for (int64_t begin = 0; begin < tokens; begin += kThreads) {
        const int64_t token = begin + threadIdx.x;
        const int32_t pair = token < tokens ? pair_with(pairs, token, neuron) : -1;
        const unsigned found = __ballot_sync(kWarpMask, pair >= 0);
        if (lane == 0) warp_counts[warp] = __popc(found);
        __syncthreads();
        int32_t place = at + __popc(found & ((1u << lane) - 1));
        for (int w = 0; w < kThreads / 32; ++w) {
            if (w < warp) place += warp_counts[w];
            at += warp_counts[w];
        }
        if (pair >= 0) {
            sorted.tokens[place] = int32_t(token);
            sorted.scores[place] = pairs.scores[pair];
            sorted.ddots[place] = ddots[pair];
        }
        __syncthreads();
    }
}

// Row gradients of one matrix: row slots[j] gets the sum over the neuron's pairs of weight * from_token.
template <class Rows>
__global__ void __launch_bounds__(kThreads)
    row_gradients_kernel(float *gradients, const int32_t *slots, int64_t first_new_slot, PairsByNeuron sorted,
                         const float *weights, Rows from) {
    const int64_t neuron = blockIdx.x, column = (int64_t(blockIdx.y) * kThreads + threadIdx.x) * Rows::kWidth;
    const int32_t first = sorted.starts[neuron], last = sorted.starts[neuron + 1];
    if (first == last || column >= from.hidden) return;
    const int64_t slot = slots[neuron];
    float *at = gradients + slot * from.hidden + column;
    Floats<Rows::kWidth> sum = {};
    if (slot < first_new_slot) sum = load<Rows::kWidth>(at);
    add_rows(sum, from, sorted.tokens, weights, first, last, column);
    store(at, sum);
}

void add_row_gradients(Operands &on, float *gradients, const int32_t *slots, int64_t first_new_slot,
                       const PairsByNeuron &sorted, const float *weights, const float *from,
                       const meft_sparse &params) {
    const auto run = [&](auto rows) {
        using Rows = decltype(rows);
        const dim3 grid(unsigned(params.neurons), blocks_for(params.hidden, kThreads * Rows::kWidth));
        MEFT_LAUNCH(row_gradients_kernel<Rows>, grid, kThreads, 0, on.stream, gradients, slots, first_new_slot, sorted,
                    weights, rows);
    };
    if (params.hidden % 4 == 0 && fours(gradients, from)) return run(PlainRows<4>{from, params.hidden});
    run(PlainRows<1>{from, params.hidden});
}

// Slots in use, as far as the gradients reach.
int64_t slots_in_use(const int32_t *slots, int64_t neurons) {
    int64_t count = 0;
    for (int64_t j = 0; j < neurons; ++j) count = slots[j] >= count ? int64_t(slots[j]) + 1 : count;
    return count;
}

void row_gradients(Operands &on, const SparseGradients &gradients, const BackwardCall &call, int64_t pair_count,
                   const meft_sparse &params) {
    const unsigned neurons = unsigned(params.neurons);
    const int64_t elements = slots_in_use(gradients.slots, params.neurons) * params.hidden;
    const int32_t *slots = on.in(gradients.slots, params.neurons);
    int32_t *counts = on.scratch<int32_t>(params.neurons);
    const PairsByNeuron sorted = {on.scratch<int32_t>(params.neurons + 1), on.scratch<int32_t>(pair_count),
                                  on.scratch<float>(pair_count), on.scratch<float>(pair_count)};
    MEFT_LAUNCH(count_tokens_kernel, dim3(neurons), kThreads, 0, on.stream, counts, call.pairs, slots, params.tokens);
    running_sums(on.stream, sorted.starts, on.scratch<int64_t>(1), counts, params.neurons);
    MEFT_LAUNCH(sort_pairs_kernel, dim3(neurons), kThreads, 0, on.stream, sorted, call.pairs, call.ddots,
                params.tokens);
    add_row_gradients(on, on.inout(gradients.dvalues, elements), slots, gradients.first_new_slot, sorted, sorted.scores,
                      call.dy, params);
    if (gradients.dkeys == nullptr) return;
    add_row_gradients(on, on.inout(gradients.dkeys, elements), slots, gradients.first_new_slot, sorted, sorted.ddots,
                      call.h, params);
}

// ---- the whole

// softmax: every logit of a token moves all its factors, so dg is dense.
void dense_router_gradients(Operands &on, float *dh, float *dgate_weight, const BackwardCall &call,
                            const float *gate_weight, const meft_sparse &params) {
    const int64_t tokens = params.tokens, experts = params.experts, hidden = params.hidden;
    softmax_gradient(on.stream, call.dgate, call.gate, tokens);
    product_f32(on.stream, dh, {call.dgate, experts, 1}, {gate_weight, 1, hidden}, tokens, hidden, experts, true);
    if (dgate_weight == nullptr) return;
    product_f32(on.stream, dgate_weight, {call.dgate, 1, experts}, {call.h, 1, hidden}, experts, hidden, tokens, true);
}

void backward(meft_ctx &lane, const SparseGradients &gradients, const float *dy, const float *h, const float *logits,
              const FiredPairs &pairs, const float *gate_weight, const RowPlanes &keys, const RowPlanes &values,
              const meft_sparse &params) {
    const int64_t tokens = params.tokens, experts = params.experts, hidden = params.hidden;
    const int64_t count = pairs.offsets[tokens], elements = params.neurons * hidden;
    if (tokens == 0 || count == 0) return;
    const bool softmax = params.gate == MEFT_GATE_SOFTMAX, routed = params.gate != MEFT_GATE_NONE;
    on_device(lane, [&](Operands &on) {
        const auto planes_of = [&](const RowPlanes &rows) {
            return DevicePlanes{on.in(rows.hi, elements),
                                params.compute == MEFT_F32 ? on.in(rows.lo, elements) : nullptr, hidden};
        };
        const BackwardCall call = {on.in(dy, tokens * hidden),
                                   on.in(h, tokens * hidden),
                                   {on.in(pairs.offsets, tokens + 1), on.in(pairs.neurons, count),
                                    on.in(pairs.dots, count), on.in(pairs.scores, count)},
                                   gate_factors(on, nullptr, on.in(logits, tokens * experts), params),
                                   params.gate,
                                   int32_t(params.neurons / experts),
                                   on.scratch<float>(count),
                                   on.scratch<float>(tokens * experts)};
        fill_zero(call.dgate, tokens * experts * int64_t(sizeof(float)), on.stream);
        const DevicePlanes value_planes = planes_of(values), key_planes = planes_of(keys);
        with_rows(value_planes, params.compute, fours(call.dy), [&](auto rows) {
            MEFT_LAUNCH(score_gradients_kernel<decltype(rows)>, dim3(unsigned(tokens)), kThreads, 0, on.stream, call,
                        rows);
        });
        float *dh = on.inout(gradients.dh, tokens * hidden);
        const float *router = routed ? on.in(gate_weight, experts * hidden) : nullptr;
        with_rows(key_planes, params.compute, fours(dh), [&](auto rows) {
            using Rows = decltype(rows);
            const dim3 grid(unsigned(tokens), blocks_for(hidden, kThreads * Rows::kWidth));
            MEFT_LAUNCH(dh_kernel<Rows>, grid, kThreads, 0, on.stream, dh, call, rows, softmax ? nullptr : router);
        });
        row_gradients(on, gradients, call, count, params);
        if (!routed) return;
        float *dgate_weight =
            gradients.dgate_weight != nullptr ? on.inout(gradients.dgate_weight, experts * hidden) : nullptr;
        if (softmax) {
            dense_router_gradients(on, dh, dgate_weight, call, router, params);
        } else if (dgate_weight != nullptr) {
            MEFT_LAUNCH(dgate_weight_kernel, dim3(unsigned(experts), blocks_for(hidden, kThreads)), kThreads, 0,
                        on.stream, dgate_weight, call.dgate, call.h, tokens, hidden);
        }
    });
}

}  // namespace

extern const sparse_backward_kernels sparse_backward_table;
const sparse_backward_kernels sparse_backward_table = {backward, nullptr};

}  // namespace cuda
}  // namespace meft
