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

// A logit z of x: x itself, or cap * tanh(x / cap).
struct Plain {
    vf operator()(vf x) const { return x; }
};
struct Capped {
    float cap;
    vf operator()(vf x) const { return mul(set1(cap), tanh(div(x, set1(cap)))); }
};
template <class Logit>
float of_one(Logit logit, float x) {
    float lanes[kLanes];
    store(lanes, logit(set1(x)));
    return lanes[0];
}

// Sum of e^(z - m). With keep, x becomes e^(z - m). A NaN in x gives NaN whatever m is.
template <class Logit>
double exp_sum(Logit logit, float *x, int64_t count, float m, bool keep) {
    double total = 0;
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        const int64_t end = begin + kBlock < count ? begin + kBlock : count;
        vf block = zero();
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) {
            const vf e = exp(sub(logit(load(x + i)), set1(m)));
            if (keep) store(x + i, e);
            block = add(block, e);
        }
        total += double(sum(block));
        if (i == end) continue;
        float rest[kLanes] = {};
        store(rest, exp(sub(logit(load_part(x + i, int(end - i))), set1(m))));
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
    const double total = exp_sum(Plain(), x, count, m, scale != 0);
    if (scale != 0) {
        const vf factor = set1(float(double(scale) / total));
        const float at = float(double(scale) * (double(x[target]) / total - 1));
        each_vector(0, count, [&](int64_t i, auto lanes) { store(x + i, mul(load(x + i, lanes), factor), lanes); });
        x[target] = at;
    }
    return float(std::log(total) + (double(m) - at_target));
}

// The same of z = cap * tanh(x / cap), whose gradient takes dz/dx = 1 - (z / cap)^2 too. Logits stay until then.
float row_capped_loss(float *x, int64_t count, int32_t target, float scale, float cap) {
    const Capped logit = {cap};
    const float m = of_one(logit, row_max(x, count));  // tanh increases
    const double at_target = double(of_one(logit, x[target]));
    const double total = exp_sum(logit, x, count, m, false);
    if (scale != 0) {
        const vf factor = set1(float(double(scale) / total));
        const auto slope = [=](vf z) { return fnma(div(z, set1(cap)), div(z, set1(cap)), set1(1.f)); };
        const float at = float(double(scale) * (std::exp(at_target - double(m)) / total - 1)) *
                         of_one(slope, float(at_target));
        each_vector(0, count, [&](int64_t i, auto lanes) {
            const vf z = logit(load(x + i, lanes));
            store(x + i, mul(mul(exp(sub(z, set1(m))), factor), slope(z)), lanes);
        });
        x[target] = at;
    }
    return float(std::log(total) + (double(m) - at_target));
}

void cross_entropy(meft_ctx &lane, float *loss, float *logits, const int32_t *targets, int64_t tokens,
                   int64_t vocabulary, float scale, float softcap) {
    lane.ran_target = kTarget;
    const int64_t chunk = vocabulary >= kBlock ? 1 : kBlock / (vocabulary + 1) + 1;
    parallel_chunks(lane, tokens, chunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t t = begin; t < end; ++t) {
            float *row = logits + t * vocabulary;
            if (targets[t] >= 0) {
                loss[t] = softcap > 0 ? row_capped_loss(row, vocabulary, targets[t], scale, softcap)
                                      : row_loss(row, vocabulary, targets[t], scale);
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
