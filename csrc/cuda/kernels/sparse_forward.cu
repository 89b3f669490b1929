// SPDX-License-Identifier: Apache-2.0
// The sparse adapter, forward: which pairs fire, and y = sum of score * value row.
//
// A number that is not finite must not get lost in a comparison: a token with a router logit or a candidate's score
// that is NaN or infinite gets NaN for its whole row of y.
#include "kernels/sparse_forward.h"

#include "cuda/kernels/sparse_rows.cuh"
#include "cuda/kernels/sparse_union.cuh"

namespace meft {
namespace cuda {

namespace {

constexpr int kTokensPerBlock = kThreads / 32;

// Writes a token's pairs from the cut; a warp a token. Nothing when there are more pairs than room.
__global__ void emit_own_kernel(ForwardPairs pairs, const int64_t *needed, int64_t capacity, const int32_t *experts,
                                GateFactors gate, Candidates candidates, CandidateSizes sizes) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= sizes.tokens || needed[0] > capacity) return;
    int32_t at = pairs.offsets[token];
    each_candidate(sizes, experts, gate, candidates.dots, token, candidates.cuts[token],
                   [&](bool stays, int place, int kept, int32_t neuron, float dot, float score) {
                       if (stays) {
                           pairs.neurons[at + place] = neuron;
                           pairs.dots[at + place] = dot;
                           pairs.scores[at + place] = score;
                       }
                       at += kept;
                   });
}

// scope token: a pair is a neuron in the token's own top K with a score above 0.
void fire_own(Operands &on, int32_t *tainted, const ForwardPairs &pairs, int64_t *needed, const SelectInput &input) {
    const meft_sparse &params = *input.params;
    const Candidates candidates = select_candidates(on, tainted, input, 0.f);
    running_sums(on.stream, pairs.offsets, needed, candidates.counts, params.tokens);
    MEFT_LAUNCH(emit_own_kernel, dim3(unsigned((params.tokens + kTokensPerBlock - 1) / kTokensPerBlock)), kThreads, 0,
                on.stream, pairs, needed, params.pair_capacity, input.experts, input.gate, candidates,
                candidate_sizes(params, 0.f));
}

// What a sum reads of pairs.
struct PairSums {
    const int32_t *offsets;
    const int32_t *neurons;
    const float *scores;
};

// y_t = sum over the token's pairs of score * value, from NaN where the token is tainted. needed and tainted null: all
// pairs are there, and no token is tainted.
template <class Rows>
__global__ void __launch_bounds__(kThreads) sum_values_kernel(float *y, const int32_t *tainted, PairSums pairs,
                                                              const int64_t *needed, int64_t capacity, Rows values) {
    if (needed != nullptr && needed[0] > capacity) return;
    const int64_t token = blockIdx.x, column = (int64_t(blockIdx.y) * kThreads + threadIdx.x) * Rows::kWidth;
    if (column >= values.hidden) return;
    const float start = tainted != nullptr && tainted[token] ? __uint_as_float(kQuietNan) : 0.f;
    Floats<Rows::kWidth> sum;
    for (int j = 0; j < Rows::kWidth; ++j) sum.at[j] = start;
    add_rows(sum, values, pairs.neurons, pairs.scores, pairs.offsets[token], pairs.offsets[token + 1], column);
    store(y + token * values.hidden + column, sum);
}

DevicePlanes planes_of(Operands &on, const RowPlanes &rows, const meft_sparse &params) {
    const int64_t count = params.neurons * params.hidden;
    return {on.in(rows.hi, count), params.compute == MEFT_F32 ? on.in(rows.lo, count) : nullptr, params.hidden};
}

// Without y a tainted token shows in its scores.
__global__ void taint_scores_kernel(ForwardPairs pairs, const int32_t *tainted, const int64_t *needed,
                                    int64_t capacity) {
    const int64_t token = blockIdx.x;
    if (!tainted[token] || needed[0] > capacity) return;
    for (int32_t p = pairs.offsets[token] + int32_t(threadIdx.x); p < pairs.offsets[token + 1]; p += kThreads) {
        pairs.scores[p] = __uint_as_float(kQuietNan);
    }
}

void sum_values(Operands &on, float *y, const int32_t *tainted, const PairSums &pairs, const int64_t *needed,
                const RowPlanes &values, const meft_sparse &params) {
    with_rows(planes_of(on, values, params), params.compute, fours(y), [&](auto rows) {
        using Rows = decltype(rows);
        const dim3 grid(unsigned(params.tokens), blocks_for(params.hidden, kThreads * Rows::kWidth));
        MEFT_LAUNCH(sum_values_kernel<Rows>, grid, kThreads, 0, on.stream, y, tainted, pairs, needed,
                    params.pair_capacity, rows);
    });
}

// y, or, where it is null, NaN scores of tainted tokens.
void finish_tokens(Operands &on, float *y, const int32_t *tainted, const ForwardPairs &pairs, const int64_t *needed,
                   const RowPlanes &values, const meft_sparse &params) {
    if (y != nullptr) {
        return sum_values(on, y, tainted, {pairs.offsets, pairs.neurons, pairs.scores}, needed, values, params);
    }
    MEFT_LAUNCH(taint_scores_kernel, dim3(unsigned(params.tokens)), kThreads, 0, on.stream, pairs, tainted, needed,
                params.pair_capacity);
}

// An output of which the host gets a part, or nothing: how much is known when it is written.
template <class T>
struct Output {
    T *device, *host;  // host: null where the caller's array lies on the device

    Output(Operands &on, T *data, int64_t count) : device(nullptr), host(nullptr) {
        if (count == 0) return;
        device = static_cast<T *>(device_address(data, count * int64_t(sizeof(T))));
        if (device != nullptr) return;
        host = data;
        device = on.scratch<T>(count);
    }
    void bring_down(Operands &on, int64_t count) const {
        if (host != nullptr && count > 0) copy(host, device, count * int64_t(sizeof(T)), Way::down, on.stream);
    }
};

// Fires by fire(on, tainted, pairs, needed, input), all on the device, then sums.
template <class Fire>
int64_t fire_and_sum(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
                     const int32_t *experts, const RowPlanes &keys, const RowPlanes &values, const meft_sparse &params,
                     Fire &&fire) {
    int64_t needed = 0;
    const int64_t tokens = params.tokens, hidden = params.hidden, room = params.pair_capacity;
    if (tokens == 0) {
        on_device(lane, [&](Operands &on) { fill_zero(on.out(pairs.offsets, 1), sizeof(int32_t), on.stream); });
        return 0;
    }
    on_device(lane, [&](Operands &on) {
        const Output<int32_t> offsets(on, pairs.offsets, tokens + 1), neurons(on, pairs.neurons, room);
        const Output<float> dots(on, pairs.dots, room), scores(on, pairs.scores, room),
            sums(on, y, y != nullptr ? tokens * hidden : 0);
        const ForwardPairs to = {offsets.device, neurons.device, dots.device, scores.device};
        int32_t *tainted = on.scratch<int32_t>(tokens);
        int64_t *total = on.scratch<int64_t>(1);
        const SelectInput input = {on.in(h, tokens * hidden),
                                   experts != nullptr ? on.in(experts, tokens * params.active_experts) : nullptr,
                                   experts,
                                   gate_factors(on, tainted, on.in(logits, tokens * params.experts), params),
                                   planes_of(on, keys, params),
                                   &params};
        fire(on, tainted, to, total, input);
        finish_tokens(on, sums.device, tainted, to, total, values, params);
        copy(&needed, total, sizeof needed, Way::down, on.stream);
        synchronize(on.stream);
        if (needed > room) return;
        offsets.bring_down(on, tokens + 1);
        neurons.bring_down(on, needed);
        dots.bring_down(on, needed);
        scores.bring_down(on, needed);
        sums.bring_down(on, tokens * hidden);  // nothing without y
        synchronize(on.stream);
    });
    return needed;
}

int64_t forward(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
                const int32_t *experts, const RowPlanes &keys, const RowPlanes &values, const meft_sparse &params) {
    return fire_and_sum(lane, y, pairs, h, logits, experts, keys, values, params,
                        params.scope == MEFT_SCOPE_UNION ? fire_union : fire_own);
}

int64_t among(meft_ctx &lane, float *y, const ForwardPairs &pairs, const float *h, const float *logits,
              const NeuronList &united, const RowPlanes &keys, const RowPlanes &values, const meft_sparse &params) {
    return fire_and_sum(lane, y, pairs, h, logits, nullptr, keys, values, params,
                        [&](Operands &on, int32_t *tainted, const ForwardPairs &to, int64_t *needed,
                            const SelectInput &input) {
                            fire_among(on, tainted, to, needed, input, {on.in(united.neurons, united.count), united.count});
                        });
}

void values(meft_ctx &lane, float *y, const int32_t *offsets, const int32_t *neurons, const float *scores,
            const RowPlanes &values, const meft_sparse &params) {
    if (params.tokens == 0) return;
    on_device(lane, [&](Operands &on) {
        const int64_t count = offsets[params.tokens];
        const PairSums pairs = {on.in(offsets, params.tokens + 1), on.in(neurons, count), on.in(scores, count)};
        sum_values(on, on.out(y, params.tokens * params.hidden), nullptr, pairs, nullptr, values, params);
    });
}

}  // namespace

extern const sparse_forward_kernels sparse_forward_table;
const sparse_forward_kernels sparse_forward_table = {forward, among, values};

}  // namespace cuda
}  // namespace meft
