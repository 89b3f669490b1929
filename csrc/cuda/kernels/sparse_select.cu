// SPDX-License-Identifier: Apache-2.0
// Scores of every (token, expert) pair, tokens of an expert together, and each token's cut.
#include "cuda/kernels/sparse_select.cuh"

#include <algorithm>
#include <vector>

namespace meft {
namespace cuda {

namespace {

constexpr int kTokensPerBlock = kThreads / 32;

// A warp a token.
__global__ void cut_kernel(Candidates to, int32_t *tainted, const int32_t *experts, GateFactors gate,
                           CandidateSizes sizes) {
    const int64_t token = int64_t(blockIdx.x) * kTokensPerBlock + threadIdx.x / 32;
    if (token >= sizes.tokens) return;
    const int lane = threadIdx.x & 31;
    const auto each_score = [&](auto body) {
        for (int32_t slot = 0; slot < sizes.active; ++slot) {
            const int64_t entry = token * sizes.active + slot;
            const float factor = gate.at(token, experts[entry]);
            for (int32_t j = lane; j < sizes.per_expert; j += 32) {
                body(gated(factor, to.dots[entry * sizes.per_expert + j]));
            }
        }
    };
    float zeros = 0;
    each_score([&](float score) { zeros += score * 0.f; });  // NaN where one is not finite
    zeros = warp_sum(zeros);
    int count = 0;
    const TopCut cut = warp_cut(sizes.top_k, &count, [&](auto body) {
        each_score([&](float score) { body(score > sizes.floor ? ordered_key(score) : 0u); });
    });
    if (lane != 0) return;
    if (!(zeros == 0)) tainted[token] = 1;
    to.counts[token] = count;
    to.cuts[token] = cut;
}

// Tiles of the entries of each expert, tokens increasing, against all of its keys.
void list_tiles(std::vector<int32_t> &entries, std::vector<ScoreTile> &tiles, const SelectInput &input) {
    const meft_sparse &params = *input.params;
    const int64_t count = params.tokens * params.active_experts, per_expert = input.per_expert();
    std::vector<int32_t> starts(size_t(params.experts + 1), 0);
    for (int64_t i = 0; i < count; ++i) ++starts[size_t(input.host_experts[i]) + 1];
    for (int64_t e = 0; e < params.experts; ++e) starts[size_t(e) + 1] += starts[size_t(e)];
    std::vector<int32_t> next(starts.begin(), starts.end() - 1);
    entries.resize(size_t(count));
    for (int64_t i = 0; i < count; ++i) entries[size_t(next[size_t(input.host_experts[i])]++)] = int32_t(i);
    for (int64_t e = 0; e < params.experts; ++e) {
        for (int32_t i = starts[size_t(e)]; i < starts[size_t(e) + 1]; i += kScoreTile) {
            const int32_t some = std::min(kScoreTile, starts[size_t(e) + 1] - i);
            for (int32_t row = 0; row < per_expert; row += kScoreTile) {
                const int32_t rows = std::min(kScoreTile, int32_t(per_expert) - row);
                tiles.push_back({i, some, int32_t(e * per_expert) + row, rows, row});
            }
        }
    }
}

}  // namespace

Candidates select_candidates(Operands &on, int32_t *tainted, const SelectInput &input, float floor) {
    const meft_sparse &params = *input.params;
    const int64_t entries = params.tokens * params.active_experts;
    std::vector<int32_t> list;
    std::vector<ScoreTile> tiles;
    list_tiles(list, tiles, input);
    float *dots = on.scratch<float>(entries * input.per_expert());
    const ScoreCall call = {on.in(tiles.data(), int64_t(tiles.size())),
                            input.h,
                            on.in(list.data(), entries),
                            int32_t(params.active_experts),
                            nullptr,
                            input.keys,
                            dots,
                            input.per_expert()};
    score_tiles(on.stream, call, int64_t(tiles.size()), params.compute);
    const Candidates candidates = {dots, on.scratch<int32_t>(params.tokens), on.scratch<TopCut>(params.tokens)};
    if (params.tokens > 0) {
        MEFT_LAUNCH(cut_kernel, dim3(unsigned((params.tokens + kTokensPerBlock - 1) / kTokensPerBlock)), kThreads, 0,
                    on.stream, candidates, tainted, input.experts, input.gate, candidate_sizes(params, floor));
    }
    return candidates;
}

}  // namespace cuda
}  // namespace meft
