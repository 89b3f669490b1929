// SPDX-License-Identifier: Apache-2.0
// AdamW for dense arrays and for rows of split-plane matrices. What a row's last_step says, and which rows
// need no replay: core/adam_schedule.h.
#include "kernels/adamw.h"

#include "core/pool.h"
#include "cpu/adamw_rows.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 14;      // elements of a task: a few microseconds of memory traffic
constexpr int64_t kFinalityPeriod = 16;  // steps between two tests inside a replay
constexpr int64_t kAhead = 512;          // elements fetched ahead: 6 KiB, a memory latency's worth

void adamw_dense(meft_ctx &lane, float *w, float *m, float *v, const float *grad, const float *lr_history,
                 int64_t count, const meft_adamw &params) {
    lane.ran_target = kTarget;
    const AdamRates rates = adam_rates(params);
    const StepScalars scalars = step_scalars(params, lr_history[params.step - 1], params.step);
    const vf scale = set1(params.grad_scale);
    parallel_chunks(lane, count, kChunk, [&](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [&](int64_t i, auto lanes) {
            AdamElements x = {load(w + i, lanes), load(m + i, lanes), load(v + i, lanes)};
            adam_step(x, mul(scale, load(grad + i, lanes)), rates, scalars);
            store(w + i, x.w, lanes);
            store(m + i, x.m, lanes);
            store(v + i, x.v, lanes);
        });
    });
}

// Calls update(x, column, lanes) for the row's elements, a vector at a time; lanes as in each_vector. At its end it
// fetches row `next`: rows that are touched here and there are no stream that the hardware would guess.
template <class Update>
void update_row(const RowState &state, int64_t row, int64_t next, Update &&update) {
    uint16_t *hi = state.hi + row * state.hidden;
    int16_t *lo = state.lo + row * state.hidden;
    float *m = state.m + row * state.hidden, *v = state.v + row * state.hidden;
    const int64_t hidden = state.hidden, distance = hidden < kAhead ? hidden : kAhead;
    const int64_t to_next = (next - row - 1) * hidden;
    each_vector(0, hidden, [&](int64_t i, auto lanes) {
        const int64_t ahead = i + distance < hidden ? i + distance : i + distance + to_next;
        __builtin_prefetch(hi + ahead, 1);
        __builtin_prefetch(lo + ahead, 1);
        __builtin_prefetch(m + ahead, 1);
        __builtin_prefetch(v + ahead, 1);
        AdamElements x = {load_planes(hi + i, lo + i, lanes), load(m + i, lanes), load(v + i, lanes)};
        update(x, i, lanes);
        store_planes(hi + i, lo + i, x.w, lanes);
        store(m + i, x.m, lanes);
        store(v + i, x.v, lanes);
    });
}

// Steps from+1..reach with g = 0, on elements in registers. Once the weights are final only the moments go on.
void replay(AdamElements &x, const RowsCall &call, int64_t from, int64_t reach) {
    for (int64_t s = from; s < reach; ++s) {
        if (call.finality && reach - s >= kFinalityPeriod / 2 && (s - from) % kFinalityPeriod == 0 &&
            max_of(not_final(x, rate_bound(*call.params, call.highest_after[s], s), call.rates.eps)) == 0) {
            for (; s < reach; ++s) adam_moments(x, zero(), call.rates);
            return;
        }
        adam_step(x, zero(), call.rates, call.scalars[s + 1 - call.first]);
    }
}

// A row's steps from+1..reach without gradient. One step, the usual case, runs at memory speed.
void replay_row(const RowsCall &call, int64_t row, int64_t next, int64_t from, int64_t reach) {
    if (reach - from > 1) {
        update_row(call.state, row, next, [&](AdamElements &x, int64_t, auto) { replay(x, call, from, reach); });
        return;
    }
    const AdamRates rates = call.rates;
    const StepScalars now = call.scalars[reach - call.first];
    update_row(call.state, row, next, [&](AdamElements &x, int64_t, auto) { adam_step(x, zero(), rates, now); });
}

// Dense semantics for one row: what it missed, then step params->step with its gradient, or with 0 when grad is null.
void exact_row(const RowsCall &call, int64_t row, int64_t next, const float *grad) {
    const int64_t step = call.params->step, reach = grad != nullptr ? step - 1 : step;
    const int64_t from = current_to(call.state.last_step[row]);
    if (from < reach && !may_rest(call, call.state.last_step[row], reach, true)) replay_row(call, row, next, from, reach);
    if (grad != nullptr) {
        const AdamRates rates = call.rates;
        const StepScalars now = call.scalars[step - call.first];
        const vf scale = set1(call.params->grad_scale);
        update_row(call.state, row, next, [&](AdamElements &x, int64_t column, auto lanes) {
            adam_step(x, mul(scale, load(grad + column, lanes)), rates, now);
        });
    }
    call.state.last_step[row] = int32_t(step);
}

// LAZY: everything the row missed in three factors, then the step.
void lazy_row(const RowsCall &call, int64_t row, int64_t next, const float *grad) {
    const int64_t step = call.params->step;
    const double missed = double(step - 1 - current_to(call.state.last_step[row]));
    const AdamRates rates = call.rates;
    const StepScalars now = call.scalars[step - call.first];
    const vf decay1 = set1(float(::pow(call.params->beta1, missed)));
    const vf decay2 = set1(float(::pow(call.params->beta2, missed)));
    const vf keep = set1(float(::pow(double(now.keep), missed)));
    const vf scale = set1(call.params->grad_scale);
    update_row(call.state, row, next, [&](AdamElements &x, int64_t column, auto lanes) {
        x = {mul(keep, x.w), mul(decay1, x.m), mul(decay2, x.v)};
        adam_step(x, mul(scale, load(grad + column, lanes)), rates, now);
    });
    call.state.last_step[row] = int32_t(step);
}

RowsCall begin_call(Workspace::Frame &frame, const RowState &state, const float *lr_history, const meft_adamw &params) {
    return {begin_schedule(frame, lr_history, params), state, adam_rates(params)};
}

}  // namespace

RowsCall begin_rows(Workspace::Frame &frame, const RowState &state, const float *lr_history, const meft_adamw &params,
                    const int32_t *rows, int64_t row_count, int64_t total_rows) {
    RowsCall call = begin_call(frame, state, lr_history, params);
    const bool dense = params.mode == MEFT_ADAM_DENSE;
    int64_t oldest = params.step - 1;
    if (params.mode != MEFT_ADAM_LAZY) {
        for (int64_t i = 0; i < (dense ? total_rows : row_count); ++i) {
            const int64_t row = dense ? i : rows[i], from = current_to(state.last_step[row]);
            if (from < oldest && !may_rest(call, state.last_step[row], params.step - 1, true)) oldest = from;
        }
    }
    make_scalars(frame, call, lr_history, oldest + 1);
    return call;
}

void step_row(const RowsCall &call, int64_t row, int64_t next, const float *grad) {
    if (call.params->mode == MEFT_ADAM_LAZY)
        lazy_row(call, row, next, grad);
    else
        exact_row(call, row, next, grad);
}

void step_row_without(const RowsCall &call, int64_t row) {
    if (!may_rest(call, call.state.last_step[row], call.params->step, true)) exact_row(call, row, row, nullptr);
}

int64_t rows_per_task(int64_t hidden) { return hidden >= kChunk ? 1 : kChunk / hidden; }

namespace {

void adamw_rows(meft_ctx &lane, const RowState &state, const float *grad, const int32_t *rows, const float *lr_history,
                int64_t row_count, int64_t total_rows, const meft_adamw &params) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    const RowsCall call = begin_rows(frame, state, lr_history, params, rows, row_count, total_rows);
    const int64_t hidden = state.hidden;
    parallel_chunks(lane, row_count, rows_per_task(hidden), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; ++i) {
            step_row(call, rows[i], rows[i + 1 < row_count ? i + 1 : i], grad + i * hidden);
        }
    });
    if (params.mode != MEFT_ADAM_DENSE) return;
    // Every row of the matrix takes the step; one that never had a gradient is not even read unless it decays.
    parallel_chunks(lane, total_rows, rows_per_task(hidden), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t row = begin; row < end; ++row) step_row_without(call, row);
    });
}

// Whether no later step without gradient can change the row's weights while rates stay at most `rate`.
bool row_is_final(const RowsCall &call, int64_t row, float rate) {
    const RowState &state = call.state;
    const int64_t base = row * state.hidden;
    bool all = true;
    each_vector(base, base + state.hidden, [&](int64_t i, auto lanes) {
        if (!all) return;
        const AdamElements x = {load_planes(state.hi + i, state.lo + i, lanes), load(state.m + i, lanes),
                                load(state.v + i, lanes)};
        all = max_of(not_final(x, rate, call.rates.eps)) == 0;
    });
    return all;
}

// Replays one row and says in last_step whether its weights can still move.
void catch_up_row(const RowsCall &call, int64_t row, int64_t next, float mark_rate, bool all_moments) {
    const int64_t step = call.params->step;
    replay_row(call, row, next, current_to(call.state.last_step[row]), step);
    const bool final_weights = call.finality && !all_moments && row_is_final(call, row, mark_rate);
    call.state.last_step[row] = int32_t(final_weights ? -step : step);
}

void adamw_catch_up(meft_ctx &lane, const RowState &state, const int32_t *blocks, const float *lr_history,
                    int64_t block_count, int64_t block_rows, bool all_moments, const meft_adamw &params) {
    lane.ran_target = kTarget;
    Workspace::Frame frame(lane.workspace);
    RowsCall call = begin_call(frame, state, lr_history, params);
    const int64_t step = params.step, count = block_count * block_rows;
    const auto row_of = [=](int64_t i) { return int64_t(blocks[i / block_rows]) * block_rows + i % block_rows; };
    int64_t oldest = step;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t from = current_to(state.last_step[row_of(i)]);
        if (from < oldest && !may_rest(call, state.last_step[row_of(i)], step, all_moments)) oldest = from;
    }
    if (oldest == step) return;
    make_scalars(frame, call, lr_history, oldest + 1);
    const float mark_rate = call.finality ? rate_bound(params, kRateSlack * call.highest_before[step], step) : 0;
    parallel_chunks(lane, count, rows_per_task(state.hidden), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t row = row_of(i);
            if (may_rest(call, state.last_step[row], step, all_moments)) continue;
            catch_up_row(call, row, i + 1 < count ? row_of(i + 1) : row, mark_rate, all_moments);
        }
    });
}

}  // namespace

extern const adamw_kernels adamw_table;
const adamw_kernels adamw_table = {adamw_dense, adamw_rows, adamw_catch_up};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
