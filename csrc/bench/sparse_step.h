// SPDX-License-Identifier: Apache-2.0
// A sparse adapter's step call by call, on random operands of any size.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "meft.h"

namespace bench {

// D hidden, M neurons, N experts, r of them per token, K neurons per token, T tokens.
struct Shape {
    int64_t D, M, N, r, K, T;
};

inline void fill_normal(meft_ctx *lane, std::vector<float> &x, int64_t count, uint32_t stream, float std) {
    x.resize(size_t(count));
    meft_random_normal(lane, x.data(), count, 1, stream, std);
}

struct Planes {
    std::vector<uint16_t> hi;
    std::vector<int16_t> lo;
    std::vector<float> m, v;
    std::vector<int32_t> last_step;
    Planes(meft_ctx *lane, const Shape &s, uint32_t stream)
        : hi(size_t(s.M * s.D)), lo(hi.size()), m(hi.size()), v(hi.size()), last_step(size_t(s.M)) {
        std::vector<float> x;
        fill_normal(lane, x, s.M * s.D, stream, 0.02f);
        meft_planes_split(lane, hi.data(), lo.data(), x.data(), s.M * s.D);
    }
};

struct Step {
    Shape s;
    meft_sparse params = {};
    Planes keys, values;
    std::vector<float> gate, h, dy, y, dh, dgate, logits, dots, scores, dkeys, dvalues, lr;
    std::vector<int32_t> experts, load, offsets, neurons, slots, rows;
    int64_t pairs = 0, touched = 0, step = 0;

    Step(meft_ctx *lane, const Shape &shape, int32_t compute)
        : s(shape), keys(lane, s, 1), values(lane, s, 2), lr(1 << 16, 1e-4f) {
        params = {sizeof params, MEFT_GATE_RAW, MEFT_SCOPE_TOKEN, compute, s.T, s.D, s.M, s.N, s.r, s.K, s.T * s.K};
        fill_normal(lane, gate, s.N * s.D, 3, 0.1f);
        fill_normal(lane, h, s.T * s.D, 4, 1);
        fill_normal(lane, dy, s.T * s.D, 5, 1e-3f);
        for (auto *x : {&y, &dh}) x->resize(size_t(s.T * s.D));
        dgate.resize(size_t(s.N * s.D));
        logits.resize(size_t(s.T * s.N));
        for (auto *x : {&dots, &scores}) x->resize(size_t(s.T * s.K));
        for (auto *x : {&dkeys, &dvalues}) x->resize(size_t(s.M * s.D));
        experts.resize(size_t(s.T * s.r));
        load.resize(size_t(s.N));
        offsets.resize(size_t(s.T + 1));
        neurons.resize(size_t(s.T * s.K));
        slots.assign(size_t(s.M), -1);
        rows.resize(size_t(s.M));
    }
    void check(meft_ctx *lane, meft_status status) {
        char text[256];
        if (status == MEFT_OK) return;
        meft_error_text(lane, text, sizeof text);
        std::printf("%s\n", text);
        std::exit(1);
    }
    void run(meft_ctx *lane, int part) {
        switch (part) {
            case 0:
                return check(lane, meft_sparse_route(lane, logits.data(), experts.data(), load.data(), h.data(),
                                                     gate.data(), &params));
            case 1:
                return check(lane, meft_sparse_forward(lane, y.data(), offsets.data(), neurons.data(), dots.data(),
                                                       scores.data(), &pairs, h.data(), logits.data(), experts.data(),
                                                       keys.hi.data(), keys.lo.data(), values.hi.data(),
                                                       values.lo.data(), &params));
            case 2:
                std::fill(slots.begin(), slots.end(), -1);
                touched = 0;
                return check(lane,
                             meft_sparse_touch(lane, slots.data(), rows.data(), &touched, neurons.data(), pairs, s.M));
            case 3:
                return check(
                    lane, meft_sparse_backward(lane, dh.data(), dgate.data(), dkeys.data(), dvalues.data(), dy.data(),
                                               h.data(), logits.data(), experts.data(), offsets.data(), neurons.data(),
                                               dots.data(), scores.data(), slots.data(), 0, gate.data(), keys.hi.data(),
                                               keys.lo.data(), values.hi.data(), values.lo.data(), &params));
            case 4: return update(lane);
            default: catch_up(lane);
        }
    }
    meft_adamw next_step() { return {sizeof(meft_adamw), MEFT_ADAM_LAZY_EXACT, ++step, 0.9f, 0.999f, 1e-8f, 0, 1, 0}; }
    void update(meft_ctx *lane) {
        const meft_adamw adam = next_step();
        for (Planes *p : {&keys, &values}) {
            check(lane, meft_adamw_rows(lane, p->hi.data(), p->lo.data(), p->m.data(), p->v.data(), p->last_step.data(),
                                        (p == &keys ? dkeys : dvalues).data(), rows.data(), lr.data(), touched, s.M,
                                        s.D, &adam));
        }
    }
    // Every expert has missed one step.
    void catch_up(meft_ctx *lane) {
        const meft_adamw adam = next_step();
        std::vector<int32_t> blocks(size_t(s.N));
        for (size_t e = 0; e < blocks.size(); ++e) blocks[e] = int32_t(e);
        for (Planes *p : {&keys, &values}) {
            check(lane, meft_adamw_rows_catch_up(lane, p->hi.data(), p->lo.data(), p->m.data(), p->v.data(),
                                                 p->last_step.data(), blocks.data(), lr.data(), s.N, s.M / s.N, s.D, 0,
                                                 &adam));
        }
    }
};

}  // namespace bench
