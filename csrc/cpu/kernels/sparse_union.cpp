// SPDX-License-Identifier: Apache-2.0
// The union of selected neurons, and all tokens scored against it. How many pairs will fire is not known beforehand:
// each block of tokens lists its pairs, then claims a place for them in a staging area as large as the caller's room.
#include "cpu/sparse_union.h"

#include "core/pool.h"
#include "cpu/sparse_score.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kTokensPerTask = 16;
constexpr int64_t kListBytes = 16 << 20;  // of the lists of one block of tokens, at most

// Selected neurons, increasing; those of expert e are [starts[e], starts[e+1]).
struct Union {
    const int32_t *neurons;
    int64_t *starts;
    int64_t count;
};

Union by_expert(Workspace::Frame &frame, const SelectInput &input, const NeuronList &list) {
    const int64_t experts = input.params->experts, per_expert = input.per_expert();
    Union united = {list.neurons, frame.take<int64_t>(experts + 1), list.count};
    for (int64_t e = 0, i = 0; e <= experts; ++e) {
        while (i < list.count && list.neurons[i] < e * per_expert) ++i;
        united.starts[e] = i;
    }
    return united;
}

Union unite(meft_ctx &lane, Workspace::Frame &frame, const SelectInput &input, const Candidates &candidates) {
    const meft_sparse &params = *input.params;
    uint8_t *selected = frame.take<uint8_t>(params.neurons);
    std::memset(selected, 0, size_t(params.neurons));
    const int64_t room = candidates.room * params.active_experts;
    float *scores = frame.take<float>(lane.threads * room);
    parallel_chunks(lane, params.tokens, kTokensPerTask, [&](int64_t begin, int64_t end, int32_t thread) {
        for (int64_t t = begin; t < end; ++t) {
            each_chosen(input, candidates, t, scores + thread * room, [&](int32_t neuron, float, float) {
                __atomic_store_n(selected + neuron, uint8_t(1), __ATOMIC_RELAXED);
            });
        }
    });
    int32_t *neurons = frame.take<int32_t>(params.neurons);
    int64_t count = 0;
    for (int64_t j = 0; j < params.neurons; ++j) {
        if (selected[j]) neurons[count++] = int32_t(j);
    }
    return by_expert(frame, input, {neurons, count});
}

// Pairs in the order in which blocks were done. Neurons are places in the union.
struct Staging {
    float *dots;
    int32_t *places;
    int64_t used;     // claimed so far, beyond capacity too
    int64_t *begins;  // of each block's pairs
    int32_t *counts;  // (T)
};

// Memory of one thread.
template <class Compute>
struct UnionScratch {
    ScoreBlock<Compute> block;
    float *lines;
    TopFilter *lists;  // of a token: every place with a score above 0; never cut
    int32_t *tokens;
};

template <class Compute>
UnionScratch<Compute> make_scratch(Workspace::Frame &frame, int64_t hidden, int64_t block, int64_t room) {
    typedef ScoreBlock<Compute> Block;
    typedef typename Compute::operand operand;
    UnionScratch<Compute> scratch = {};
    scratch.block.packed = frame.take<operand>(Block::packed_room(hidden));
    scratch.block.tile = frame.take<operand>(Block::tile_room());
    scratch.block.scores = frame.take<float>(Block::scores_room());
    scratch.block.hidden = hidden;
    scratch.lines = frame.take<float>(kLanes * kScoreRows);
    scratch.lists = frame.take<TopFilter>(block);
    scratch.tokens = frame.take<int32_t>(block);
    float *dots = frame.take<float>(block * room);
    int32_t *places = frame.take<int32_t>(block * room);
    for (int64_t t = 0; t < block; ++t) scratch.lists[t] = {dots + t * room, places + t * room, 0.f, 0.f, 0};
    return scratch;
}

// One token's scores against places [begin, begin + count), expert by expert.
void list_positive(TopFilter &list, const FilterPlan &plan, const float *scores, int64_t begin, int64_t count,
                   const Union &united, const SelectInput &input, int64_t token, vf &zeros) {
    int64_t expert = united.neurons[begin] / input.per_expert();
    for (int64_t place = begin; place < begin + count; ++expert) {
        int64_t end = united.starts[expert + 1];
        if (end > begin + count) end = begin + count;
        if (end <= place) continue;
        list.gate = input.gate.at(token, expert);
        list.offer(plan, scores + (place - begin), end - place, int32_t(place), zeros);
        place = end;
    }
}

template <class Compute>
void list_block(UnionScratch<Compute> &scratch, const FilterPlan &plan, const SelectInput &input, const Union &united,
                int64_t first, int64_t count, uint8_t *tainted) {
    for (int64_t t = 0; t < count; ++t) {
        scratch.tokens[t] = int32_t(first + t);
        scratch.lists[t].count = 0;
    }
    scratch.block.pack(input.h, scratch.tokens, count);
    for (int64_t row = 0; row < united.count; row += kScoreRows) {
        const int64_t rows = united.count - row < kScoreRows ? united.count - row : kScoreRows;
        scratch.block.score(input.keys, united.neurons + row, 0, rows);
        for (int64_t u = 0; u < count; u += kLanes) {
            const int64_t some = count - u < kLanes ? count - u : kLanes;
            const float *lines = scratch.block.by_token(scratch.lines, u, some, rows);
            for (int64_t t = 0; t < some; ++t) {
                vf zeros = zero();
                list_positive(scratch.lists[u + t], plan, lines + t * kScoreRows, row, rows, united, input,
                              first + u + t, zeros);
                if (sum(zeros) != 0) tainted[first + u + t] = 1;
            }
        }
    }
}

// Moves a block's lists to the staging area, where they fit.
template <class Compute>
void stage_block(Staging &staging, UnionScratch<Compute> &scratch, int64_t index, int64_t first, int64_t count,
                 int64_t capacity) {
    int64_t total = 0;
    for (int64_t t = 0; t < count; ++t) total += staging.counts[first + t] = scratch.lists[t].count;
    int64_t at = __atomic_fetch_add(&staging.used, total, __ATOMIC_RELAXED);
    staging.begins[index] = at;
    if (at + total > capacity) return;
    for (int64_t t = 0; t < count; ++t) {
        const TopFilter &list = scratch.lists[t];
        std::memcpy(staging.dots + at, list.dots, size_t(list.count) * sizeof(float));
        std::memcpy(staging.places + at, list.ids, size_t(list.count) * sizeof(int32_t));
        at += list.count;
    }
}

// Blocks of tokens, so many that threads share them, and so small that their lists fit.
int64_t block_tokens(const meft_ctx &lane, int64_t tokens, int64_t room) {
    const int64_t fitting = kListBytes / (room * 8) / kLanes * kLanes;
    const int64_t shared = (tokens / (2 * lane.threads) + 63) / 64 * 64;
    int64_t block = shared < kScoreTokens ? shared : kScoreTokens;
    if (fitting < block) block = fitting;
    return block > kLanes ? block : kLanes;
}

template <class Compute>
void list_pairs(meft_ctx &lane, const SelectInput &input, const Union &united, Staging &staging, int64_t block,
                uint8_t *tainted) {
    Workspace::Frame frame(lane.workspace);
    const FilterPlan plan = {INT32_MAX, int32_t(united.count + kLanes), 0.f, nullptr};
    UnionScratch<Compute> *scratch = frame.take<UnionScratch<Compute>>(lane.threads);
    for (int32_t i = 0; i < lane.threads; ++i) {
        scratch[i] = make_scratch<Compute>(frame, input.keys.hidden, block, plan.room);
    }
    parallel_chunks(lane, input.params->tokens, block, [&](int64_t begin, int64_t end, int32_t thread) {
        list_block(scratch[thread], plan, input, united, begin, end - begin, tainted);
        stage_block(staging, scratch[thread], begin / block, begin, end - begin, input.params->pair_capacity);
    });
}

// From the staging area to token order.
void place_pairs(meft_ctx &lane, const ForwardPairs &pairs, const SelectInput &input, const Union &united,
                 const Staging &staging, int64_t block) {
    const int64_t tokens = input.params->tokens, per_expert = input.per_expert();
    pairs.offsets[0] = 0;
    for (int64_t t = 0; t < tokens; ++t) pairs.offsets[t + 1] = pairs.offsets[t] + staging.counts[t];
    parallel_chunks(lane, tokens, block, [&](int64_t begin, int64_t end, int32_t) {
        int64_t from = staging.begins[begin / block];
        for (int64_t t = begin; t < end; ++t) {
            for (int32_t p = pairs.offsets[t]; p < pairs.offsets[t + 1]; ++p, ++from) {
                const int32_t neuron = united.neurons[staging.places[from]];
                pairs.neurons[p] = neuron;
                pairs.dots[p] = staging.dots[from];
                pairs.scores[p] = gated(input.gate.at(t, neuron / per_expert), staging.dots[from]);
            }
        }
    });
}

// All tokens against the union.
int64_t fire_all(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const ForwardPairs &pairs,
                 const SelectInput &input, const Union &united) {
    const meft_sparse &params = *input.params;
    const int64_t block = block_tokens(lane, params.tokens, united.count + kLanes);
    const int64_t blocks = (params.tokens + block - 1) / block;
    Staging staging = {frame.take<float>(params.pair_capacity), frame.take<int32_t>(params.pair_capacity), 0,
                       frame.take<int64_t>(blocks), frame.take<int32_t>(params.tokens)};
    if (params.compute == MEFT_BF16) {
        list_pairs<Bf16>(lane, input, united, staging, block, tainted);
    } else {
        list_pairs<F32>(lane, input, united, staging, block, tainted);
    }
    if (staging.used <= params.pair_capacity) place_pairs(lane, pairs, input, united, staging, block);
    return staging.used;
}

}  // namespace

int64_t fire_union(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const ForwardPairs &pairs,
                   const SelectInput &input) {
    // Own selections count whatever their sign: another token may score higher on them.
    const Candidates candidates = select_candidates(lane, frame, tainted, input, -HUGE_VALF);
    return fire_all(lane, frame, tainted, pairs, input, unite(lane, frame, input, candidates));
}

int64_t fire_among(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const ForwardPairs &pairs,
                   const SelectInput &input, const NeuronList &united) {
    return fire_all(lane, frame, tainted, pairs, input, by_expert(frame, input, united));
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
