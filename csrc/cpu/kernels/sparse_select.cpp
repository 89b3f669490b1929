// SPDX-License-Identifier: Apache-2.0
// Top K within each (token, expert): a task takes up to kScoreTokens tokens of one expert, scores them against
// the expert's keys a block at a time, and lets every score pass the token's filter.
#include "cpu/sparse_select.h"

#include "core/pool.h"
#include "cpu/sparse_score.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kFilterBytes = 4 << 20;  // of all filters of a task, at most

// Entries (t*k_e + slot) by expert, tokens increasing; starts (N+1).
struct Buckets {
    int32_t *entries;
    int64_t *starts;
};

Buckets bucket_by_expert(Workspace::Frame &frame, const SelectInput &input) {
    const int64_t experts = input.params->experts, count = input.params->tokens * input.params->active_experts;
    Buckets buckets = {frame.take<int32_t>(count), frame.take<int64_t>(experts + 1)};
    int64_t *next = frame.take<int64_t>(experts);
    for (int64_t e = 0; e <= experts; ++e) buckets.starts[e] = 0;
    for (int64_t i = 0; i < count; ++i) ++buckets.starts[input.experts[i] + 1];
    for (int64_t e = 0; e < experts; ++e) {
        buckets.starts[e + 1] += buckets.starts[e];
        next[e] = buckets.starts[e];
    }
    for (int64_t i = 0; i < count; ++i) buckets.entries[next[input.experts[i]]++] = int32_t(i);
    return buckets;
}

// Entries [first, first + count) of the buckets, all of one expert.
struct Item {
    int64_t first;
    int32_t count, expert;
};

struct Items {
    Item *list;
    int64_t count;
};

// Cuts buckets into items of at most `block` entries, the largest first, so that threads finish together.
Items cut_items(Workspace::Frame &frame, const Buckets &buckets, int64_t experts, int64_t block) {
    int64_t *by_size = frame.take<int64_t>(block + 1);  // items of each size, then where the next of it goes
    for (int64_t n = 0; n <= block; ++n) by_size[n] = 0;
    const auto each_item = [&](auto &&body) {
        for (int64_t e = 0; e < experts; ++e) {
            for (int64_t i = buckets.starts[e]; i < buckets.starts[e + 1]; i += block) {
                const int64_t left = buckets.starts[e + 1] - i;
                body(Item{i, int32_t(left < block ? left : block), int32_t(e)});
            }
        }
    };
    each_item([&](const Item &item) { ++by_size[item.count]; });
    int64_t total = 0;
    for (int64_t n = block; n >= 0; --n) {
        const int64_t some = by_size[n];
        by_size[n] = total;
        total += some;
    }
    Items items = {frame.take<Item>(total), total};
    each_item([&](const Item &item) { items.list[by_size[item.count]++] = item; });
    return items;
}

// Tokens of an item: fewer where filters are large, or where there is too little work for all threads.
int64_t block_tokens(const meft_ctx &lane, const SelectInput &input, int64_t filter_room) {
    const int64_t fitting = kFilterBytes / (filter_room * 8) / kLanes * kLanes;
    const int64_t entries = input.params->tokens * input.params->active_experts;
    const int64_t shared = (entries / (2 * lane.threads) + 63) / 64 * 64;
    int64_t block = shared < kScoreTokens ? shared : kScoreTokens;
    if (fitting < block) block = fitting;
    return block > kLanes ? block : kLanes;
}

// Memory of one thread.
template <class Compute>
struct Scratch {
    ScoreBlock<Compute> block;
    float *lines;  // [lane][kScoreRows]: scores of kLanes tokens, token by token
    TopFilter *filters;
    int32_t *tokens;
    FilterPlan plan;
};

template <class Compute>
Scratch<Compute> make_scratch(Workspace::Frame &frame, const SelectInput &input, int64_t block, FilterPlan plan) {
    typedef ScoreBlock<Compute> Block;
    typedef typename Compute::operand operand;
    Scratch<Compute> scratch = {};
    const int64_t hidden = input.keys.hidden;
    scratch.block.packed = frame.take<operand>(Block::packed_room(hidden));
    scratch.block.tile = frame.take<operand>(Block::tile_room());
    scratch.block.scores = frame.take<float>(Block::scores_room());
    scratch.block.hidden = hidden;
    scratch.lines = frame.take<float>(kLanes * kScoreRows);
    scratch.filters = frame.take<TopFilter>(block);
    scratch.tokens = frame.take<int32_t>(block);
    float *dots = frame.take<float>(block * plan.room);
    int32_t *ids = frame.take<int32_t>(block * plan.room);
    for (int64_t t = 0; t < block; ++t) {
        scratch.filters[t].dots = dots + t * plan.room;
        scratch.filters[t].ids = ids + t * plan.room;
    }
    scratch.plan = plan;
    scratch.plan.scores = frame.take<float>(plan.room);
    return scratch;
}

// Scores of keys [row, row + rows), which lie in the block, pass the filters of the item's tokens.
template <class Compute>
void offer_block(Scratch<Compute> &scratch, int64_t row, int64_t rows, uint8_t *tainted) {
    const ScoreBlock<Compute> &block = scratch.block;
    for (int64_t u = 0; u < block.tokens; u += kLanes) {
        const int64_t some = block.tokens - u < kLanes ? block.tokens - u : kLanes;
        const float *lines = block.by_token(scratch.lines, u, some, rows);
        for (int64_t t = 0; t < some; ++t) {
            vf zeros = zero();
            scratch.filters[u + t].offer(scratch.plan, lines + t * kScoreRows, rows, int32_t(row), zeros);
            // Tasks of other experts may set the same flag.
            if (sum(zeros) != 0) __atomic_store_n(tainted + scratch.tokens[u + t], uint8_t(1), __ATOMIC_RELAXED);
        }
    }
}

template <class Compute>
void run_item(Scratch<Compute> &scratch, const SelectInput &input, const Item &item, const int32_t *entries,
              const Candidates &candidates, uint8_t *tainted) {
    const int64_t per_expert = input.per_expert(), first = item.expert * per_expert;
    for (int32_t i = 0; i < item.count; ++i) {
        scratch.tokens[i] = int32_t(entries[i] / input.params->active_experts);
        scratch.filters[i].gate = input.gate.at(scratch.tokens[i], item.expert);
        scratch.filters[i].threshold = scratch.plan.floor;
        scratch.filters[i].count = 0;
    }
    scratch.block.pack(input.h, scratch.tokens, item.count);
    for (int64_t row = 0; row < per_expert; row += kScoreRows) {
        const int64_t rows = per_expert - row < kScoreRows ? per_expert - row : kScoreRows;
        scratch.block.score(input.keys, nullptr, first + row, rows);
        offer_block(scratch, first + row, rows, tainted);
    }
    for (int32_t i = 0; i < item.count; ++i) {
        TopFilter &filter = scratch.filters[i];
        filter.cut(scratch.plan);
        const int64_t at = entries[i] * candidates.room;
        candidates.counts[entries[i]] = filter.count;
        std::memcpy(candidates.dots + at, filter.dots, size_t(filter.count) * sizeof(float));
        std::memcpy(candidates.neurons + at, filter.ids, size_t(filter.count) * sizeof(int32_t));
    }
}

template <class Compute>
void run_items(meft_ctx &lane, const SelectInput &input, const Candidates &candidates, uint8_t *tainted, float floor) {
    Workspace::Frame frame(lane.workspace);
    FilterPlan plan = {int32_t(candidates.room), 0, floor, nullptr};
    plan.room = FilterPlan::room_for(plan.keep, input.per_expert());
    const int64_t block = block_tokens(lane, input, plan.room);
    const Buckets buckets = bucket_by_expert(frame, input);
    const Items items = cut_items(frame, buckets, input.params->experts, block);
    Scratch<Compute> *scratch = frame.take<Scratch<Compute>>(lane.threads);
    for (int32_t i = 0; i < lane.threads; ++i) scratch[i] = make_scratch<Compute>(frame, input, block, plan);
    parallel(lane, items.count, [&](int64_t i, int32_t thread) {
        run_item(scratch[thread], input, items.list[i], buckets.entries + items.list[i].first, candidates, tainted);
    });
}

}  // namespace

Candidates select_candidates(meft_ctx &lane, Workspace::Frame &frame, uint8_t *tainted, const SelectInput &input,
                             float floor) {
    const int64_t entries = input.params->tokens * input.params->active_experts;
    const int64_t selectable = input.selectable(), per_expert = input.per_expert();
    const int64_t room = selectable < per_expert ? selectable : per_expert;
    const Candidates candidates = {frame.take<float>(entries * room), frame.take<int32_t>(entries * room),
                                   frame.take<int32_t>(entries), room};
    if (input.params->compute == MEFT_BF16) {
        run_items<Bf16>(lane, input, candidates, tainted, floor);
    } else {
        run_items<F32>(lane, input, candidates, tainted, floor);
    }
    return candidates;
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
