// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of each row of logits, with its gradient in place.
#include "kernels/loss.h"

#include "core/pool.h"
#include "cpu/simd.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kBlock = 4096;  // sums run in f32 within a block, in f64 over blocks: vocabularies are large

float row_max(const float *x, int64_t count) {
    vf best = set1(-HUGE_VALF);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) best = max(best, load(x + i));
    float m = max_of(best);
    for (; i < count; ++i) m = x[i] > m ? x[i] : m;
    return m;
}

// Sum of e^(x - m). With keep, x becomes e^(x - m). A NaN in x gives NaN whatever m is.
double exp_sum(float *x, int64_t count, float m, bool keep) {
    double total = 0;
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        const int64_t end = begin + kBlock < count ? begin + kBlock : count;
        vf block = zero();
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) {
            const vf e = exp(sub(load(x + i), set1(m)));
            if (keep) store(x + i, e);
            block = add(block, e);
        }
        total += double(sum(block));
        if (i == end) continue;
        float rest[kLanes] = {};
        store(rest, exp(sub(load_part(x + i, int(end - i)), set1(m))));
        for (int j = 0; i + j < end; ++j) {
            if (keep) x[i + j] = rest[j];
            total += double(rest[j]);
        }
    }
    return total;
}

// loss = log(sum e^(x-m)) + m - x[target];  dx = scale * (e^(x-m)/sum - [i = target]).
float row_loss(float *x, int64_t count, int32_t target, float scale) {
    const float m = row_max(x, count);
    const double at_target = double(x[target]);
    const double total = exp_sum(x, count, m, scale != 0);
    if (scale != 0) {
        const vf factor = set1(float(double(scale) / total));
        const float at = float(double(scale) * (double(x[target]) / total - 1));
        each_vector(0, count, [&](int64_t i, auto lanes) { store(x + i, mul(load(x + i, lanes), factor), lanes); });
        x[target] = at;
    }
    return float(std::log(total) + (double(m) - at_target));
}

void cross_entropy(meft_ctx &lane, float *loss, float *logits, const int32_t *targets, int64_t tokens,
                   int64_t vocabulary, float scale) {
    lane.ran_target = kTarget;
    const int64_t chunk = vocabulary >= kBlock ? 1 : kBlock / (vocabulary + 1) + 1;
    parallel_chunks(lane, tokens, chunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *row = logits + t * vocabulary;
            if (targets[t] >= 0) {
                loss[t] = row_loss(row, vocabulary, targets[t], scale);
            } else {
                loss[t] = 0;
                if (scale != 0 && vocabulary > 0) std::memset(row, 0, size_t(vocabulary) * 4);
            }
        }
    });
}

}  // namespace

extern const loss_kernels loss_table;
const loss_kernels loss_table = {cross_entropy};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
