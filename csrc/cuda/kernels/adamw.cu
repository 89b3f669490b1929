// SPDX-License-Identifier: Apache-2.0
// AdamW for dense arrays and for rows of split-plane matrices. Which rows move, and by which steps, is settled on the
// host (core/adam_schedule.h): rows, last_step and lr_history are the host's. Every product that meets a sum is an
// explicit fma, and divisions and roots are rounded correctly: the bits are those of the CPU.
#include "kernels/adamw.h"

#define MEFT_TARGET_NS cuda
#include "core/adam_schedule.h"
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/planes.cuh"

namespace meft {
namespace cuda {

namespace {

constexpr int64_t kFinalityPeriod = 16;  // steps between two tests inside a replay
constexpr float kSmallestNormal = 1.17549435e-38f;

struct AdamElement {
    float w, m, v;
};

// A moment below the smallest normal number becomes +0, NaN stays (cpu/adamw_step.h says why).
__device__ __forceinline__ void adam_moments(AdamElement &x, float g, const AdamFactors &r) {
    x.m = __fmaf_rn(r.beta1, x.m, __fmul_rn(r.rest1, g));
    x.v = __fmaf_rn(r.beta2, x.v, __fmul_rn(__fmul_rn(r.rest2, g), g));
    if (fabsf(x.m) < kSmallestNormal) x.m = 0;
    if (x.v < kSmallestNormal) x.v = 0;
}
__device__ __forceinline__ void adam_step(AdamElement &x, float g, const AdamFactors &r, const StepScalars &s) {
    adam_moments(x, g, r);
    const float quotient = __fdiv_rn(x.m, __fmaf_rn(__fsqrt_rn(x.v), s.bias2, r.eps));
    x.w = __fmaf_rn(-s.rate, quotient, __fmul_rn(s.keep, x.w));
}

// Whether a later step without gradient can change the weight while rates stay at most `rate`; the proof, with its
// bounds, stands in cpu/adamw_step.h.
__device__ __forceinline__ bool not_final(const AdamElement &x, float rate, float eps) {
    const float size = fabsf(x.m);
    const float right = __fmul_rn(__fmul_rn(fabsf(x.w), 7.450580596923828125e-9f), __fadd_rn(__fsqrt_rn(x.v), eps));
    const float left = fmaxf(__fmul_rn(rate, size), kSmallestNormal);
    return !(kSmallestNormal > size) && !(right > left);
}

__global__ void adamw_dense_kernel(float *w, float *m, float *v, const float *grad, float grad_scale,
                                   AdamFactors factors, StepScalars scalars, int64_t count) {
    MEFT_FOR_EACH(i, count) {
        AdamElement x = {w[i], m[i], v[i]};
        adam_step(x, __fmul_rn(grad_scale, grad[i]), factors, scalars);
        w[i] = x.w, m[i] = x.m, v[i] = x.v;
    }
}

void dense(meft_ctx &lane, float *w, float *m, float *v, const float *grad, const float *lr_history, int64_t count,
           const meft_adamw &params) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(adamw_dense_kernel, grid_of(count), kThreads, 0, on.stream, on.inout(w, count), on.inout(m, count),
                    on.inout(v, count), on.in(grad, count), params.grad_scale, adam_factors(params),
                    step_scalars(params, lr_history[params.step - 1], params.step), count);
    });
}

// What happens to one row: decay by closed factors (LAZY), steps from+1..reach with g = 0, then perhaps a step with
// its gradient.
struct RowTask {
    int32_t row, from, reach;
    int32_t gradient;  // row of grad, or -1
    float keep, decay1, decay2;
};

struct RowsCall {
    uint16_t *hi;
    int16_t *lo;
    float *m, *v;
    const float *grad;
    const StepScalars *scalars;  // of steps first..step
    const float *rate_bounds;    // [s + 1 - first]: of all steps after s; null where finality does not hold
    int64_t hidden, first, step;
    AdamFactors factors;
    float grad_scale;
};

// Steps from+1..reach with g = 0. Once the weight is final only the moments go on.
__device__ __forceinline__ void replay(AdamElement &x, const RowsCall &call, int32_t from, int32_t reach) {
    for (int64_t s = from; s < reach; ++s) {
        if (call.rate_bounds != nullptr && reach - s >= kFinalityPeriod / 2 && (s - from) % kFinalityPeriod == 0 &&
            !not_final(x, call.rate_bounds[s + 1 - call.first], call.factors.eps)) {
            for (; s < reach; ++s) adam_moments(x, 0.f, call.factors);
            return;
        }
        adam_step(x, 0.f, call.factors, call.scalars[s + 1 - call.first]);
    }
}

// A block a row. final_rows (tasks), or null: whether no later step can change the row's weights while rates stay at
// most mark_rate.
__global__ void __launch_bounds__(kThreads)
    adamw_rows_kernel(int32_t *final_rows, const RowTask *tasks, RowsCall call, float mark_rate) {
    const RowTask task = tasks[blockIdx.x];
    int moves = 0;
    for (int64_t i = threadIdx.x; i < call.hidden; i += kThreads) {
        const int64_t at = task.row * call.hidden + i;
        AdamElement x = {join_element(call.hi[at], call.lo[at]), call.m[at], call.v[at]};
        replay(x, call, task.from, task.reach);
        if (task.gradient >= 0) {
            x = {__fmul_rn(task.keep, x.w), __fmul_rn(task.decay1, x.m), __fmul_rn(task.decay2, x.v)};
            adam_step(x, __fmul_rn(call.grad_scale, call.grad[task.gradient * call.hidden + i]), call.factors,
                      call.scalars[call.step - call.first]);
        }
        moves |= not_final(x, mark_rate, call.factors.eps);
        split_element(call.hi + at, call.lo + at, x.w);
        call.m[at] = x.m, call.v[at] = x.v;
    }
    if (final_rows == nullptr) return;
    const int any = __syncthreads_or(moves);
    if (threadIdx.x == 0) final_rows[blockIdx.x] = !any;
}

// Runs the tasks; last_step is the caller's to advance. final_rows: a host array of as many as there are tasks, or
// null.
void run_tasks(meft_ctx &lane, Workspace::Frame &frame, int32_t *final_rows, const RowTask *tasks, int64_t count,
               AdamSchedule &schedule, const RowState &state, int64_t total_rows, const float *grad, int64_t grad_rows,
               const float *lr_history, float mark_rate) {
    if (count == 0) return;
    const meft_adamw &params = *schedule.params;
    int64_t oldest = params.step - 1;
    for (int64_t i = 0; i < count; ++i) {
        if (tasks[i].from < tasks[i].reach && tasks[i].from < oldest) oldest = tasks[i].from;
    }
    make_scalars(frame, schedule, lr_history, oldest + 1);
    const int64_t steps = params.step - oldest, elements = total_rows * state.hidden;
    float *bounds = nullptr;
    if (schedule.finality) {
        bounds = frame.take<float>(steps);
        for (int64_t s = oldest; s < params.step; ++s) {
            bounds[s - oldest] = rate_bound(params, schedule.highest_after[s], s);
        }
    }
    on_device(lane, [&](Operands &on) {
        const RowsCall call = {on.inout(state.hi, elements),
                               on.inout(state.lo, elements),
                               on.inout(state.m, elements),
                               on.inout(state.v, elements),
                               on.in(grad, grad_rows * state.hidden),
                               on.in(schedule.scalars, steps),
                               on.in(bounds, bounds != nullptr ? steps : 0),
                               state.hidden,
                               schedule.first,
                               params.step,
                               adam_factors(params),
                               params.grad_scale};
        MEFT_LAUNCH(adamw_rows_kernel, dim3(unsigned(count)), kThreads, 0, on.stream, on.out(final_rows, count),
                    on.in(tasks, count), call, mark_rate);
    });
}

// Dense semantics for a row: what it missed, then this step with its gradient, or with 0 where gradient is -1.
RowTask exact_task(const AdamSchedule &schedule, int32_t last_step, int64_t row, int64_t gradient) {
    const int64_t reach = gradient >= 0 ? schedule.params->step - 1 : schedule.params->step;
    const int64_t from = may_rest(schedule, last_step, reach, true) ? reach : current_to(last_step);
    return {int32_t(row), int32_t(from), int32_t(reach), int32_t(gradient), 1, 1, 1};
}

// LAZY: everything the row missed in three factors.
RowTask lazy_task(const meft_adamw &params, int32_t last_step, int64_t row, int64_t gradient, float keep) {
    const int32_t before = int32_t(params.step - 1);
    const double missed = double(before - current_to(last_step));
    return {int32_t(row),
            before,
            before,
            int32_t(gradient),
            float(::pow(double(keep), missed)),
            float(::pow(params.beta1, missed)),
            float(::pow(params.beta2, missed))};
}

void rows(meft_ctx &lane, const RowState &state, const float *grad, const int32_t *row_list, const float *lr_history,
          int64_t row_count, int64_t total_rows, const meft_adamw &params) {
    Workspace::Frame frame(lane.workspace);
    AdamSchedule schedule = begin_schedule(frame, lr_history, params);
    RowTask *tasks = frame.take<RowTask>(params.mode == MEFT_ADAM_DENSE ? total_rows : row_count);
    int64_t count = 0;
    const float keep = step_scalars(params, lr_history[params.step - 1], params.step).keep;
    for (int64_t i = 0; i < row_count; ++i) {
        const int64_t row = row_list[i];
        const int32_t last = state.last_step[row];
        tasks[count++] =
            params.mode == MEFT_ADAM_LAZY ? lazy_task(params, last, row, i, keep) : exact_task(schedule, last, row, i);
        state.last_step[row] = int32_t(params.step);
    }
    if (params.mode == MEFT_ADAM_DENSE) {
        // Rows that had a gradient are current now, so they rest.
        for (int64_t row = 0; row < total_rows; ++row) {
            if (may_rest(schedule, state.last_step[row], params.step, true)) continue;
            tasks[count++] = exact_task(schedule, state.last_step[row], row, -1);
            state.last_step[row] = int32_t(params.step);
        }
    }
    run_tasks(lane, frame, nullptr, tasks, count, schedule, state, total_rows, grad, row_count, lr_history, 0);
}

void catch_up(meft_ctx &lane, const RowState &state, const int32_t *blocks, const float *lr_history,
              int64_t block_count, int64_t block_rows, bool all_moments, const meft_adamw &params) {
    Workspace::Frame frame(lane.workspace);
    AdamSchedule schedule = begin_schedule(frame, lr_history, params);
    RowTask *tasks = frame.take<RowTask>(block_count * block_rows);
    int64_t count = 0, total_rows = 0;
    for (int64_t i = 0; i < block_count * block_rows; ++i) {
        const int64_t row = int64_t(blocks[i / block_rows]) * block_rows + i % block_rows;
        const int32_t last = state.last_step[row];
        if (may_rest(schedule, last, params.step, all_moments)) continue;
        tasks[count++] = {int32_t(row), int32_t(current_to(last)), int32_t(params.step), -1, 1, 1, 1};
        total_rows = row + 1;
    }
    const float mark_rate =
        schedule.finality ? rate_bound(params, kRateSlack * schedule.highest_before[params.step], params.step) : 0;
    int32_t *final_rows = frame.take<int32_t>(count);
    run_tasks(lane, frame, final_rows, tasks, count, schedule, state, total_rows, nullptr, 0, lr_history, mark_rate);
    for (int64_t i = 0; i < count; ++i) {
        const bool marked = schedule.finality && !all_moments && final_rows[i] != 0;
        state.last_step[tasks[i].row] = int32_t(marked ? -params.step : params.step);
    }
}

}  // namespace

extern const adamw_kernels adamw_table;
const adamw_kernels adamw_table = {dense, rows, catch_up};

}  // namespace cuda
}  // namespace meft
