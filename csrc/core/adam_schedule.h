// SPDX-License-Identifier: Apache-2.0
// What AdamW knows of its steps besides the elements: the scalars of each step, and which rows need no replay. Host
// code of every target and of the device, in the namespace that includes it (MEFT_TARGET_NS).
//
// A row knows the step s its moments are current to (|last_step|). A row that had no gradient since has lost nothing:
// replaying steps s+1..t with g = 0 in registers gives exactly the dense bits. A negative last_step says more: no step after s can
// have changed the weights, provided that no learning rate after s exceeds twice the largest one up to s. That proviso
// is checked whenever the mark is used, and the row still holds its full state of step s, so a mark that no longer
// holds costs a replay and never a wrong bit.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "meft.h"

namespace meft {
namespace MEFT_TARGET_NS {

constexpr float kRateSlack = 2;  // learning rates may grow by this before a finality mark lapses

// Scalars of every step of a call, each rounded from f64 to f32 once.
struct AdamFactors {
    float beta1, rest1, beta2, rest2, eps;
};
inline AdamFactors adam_factors(const meft_adamw &p) {
    return {float(p.beta1), float(1 - p.beta1), float(p.beta2), float(1 - p.beta2), float(p.eps)};
}

// Scalars of step `step` (from 1): w = keep*w - rate * m / (sqrt(v)*bias2 + eps).
struct StepScalars {
    float rate;   // lr / (1 - beta1^step)
    float bias2;  // 1 / sqrt(1 - beta2^step), at least 1
    float keep;   // 1 - lr * weight_decay
};
inline StepScalars step_scalars(const meft_adamw &p, float lr, int64_t step) {
    const double correction1 = 1 - ::pow(p.beta1, double(step));
    const double correction2 = 1 - ::pow(p.beta2, double(step));
    return {float(double(lr) / correction1), float(1 / ::sqrt(correction2)), float(1 - double(lr) * p.weight_decay)};
}

// Whether not_final may be asked: its proof needs as much.
inline bool finality_holds(const meft_adamw &p) {
    return p.weight_decay == 0 && p.beta1 * (1 + 1e-6) <= ::sqrt(p.beta2) && p.eps >= 8.67361737988403547e-19;
}

// What not_final wants to know: a bound on the rate of all steps after s when learning rates stay at most `highest`.
inline float rate_bound(const meft_adamw &p, float highest, int64_t s) {
    return float(double(highest) / (1 - ::pow(p.beta1, double(s + 1))));
}

inline int64_t current_to(int32_t last_step) { return last_step < 0 ? -int64_t(last_step) : last_step; }

// The steps of one call on rows. Scalars exist for steps first..params->step.
struct AdamSchedule {
    const meft_adamw *params;
    bool finality;                // finality_holds
    const float *highest_before;  // [s]: largest learning rate of steps 1..s; with finality only
    const float *highest_after;   // [s]: largest of steps s+1..params->step; with finality only
    int64_t first;
    const StepScalars *scalars;  // [s - first]
};

inline AdamSchedule begin_schedule(Workspace::Frame &frame, const float *lr_history, const meft_adamw &params) {
    AdamSchedule schedule = {&params, finality_holds(params), nullptr, nullptr, 0, nullptr};
    if (!schedule.finality) return schedule;
    const int64_t step = params.step;
    float *before = frame.take<float>(step + 1), *after = frame.take<float>(step + 1);
    before[0] = 0;
    for (int64_t s = 1; s <= step; ++s)
        before[s] = before[s - 1] > lr_history[s - 1] ? before[s - 1] : lr_history[s - 1];
    after[step] = 0;
    for (int64_t s = step - 1; s >= 0; --s) after[s] = after[s + 1] > lr_history[s] ? after[s + 1] : lr_history[s];
    schedule.highest_before = before;
    schedule.highest_after = after;
    return schedule;
}

inline void make_scalars(Workspace::Frame &frame, AdamSchedule &schedule, const float *lr_history, int64_t first) {
    const int64_t step = schedule.params->step;
    StepScalars *scalars = frame.take<StepScalars>(step - first + 1);
    for (int64_t s = first; s <= step; ++s) scalars[s - first] = step_scalars(*schedule.params, lr_history[s - 1], s);
    schedule.first = first;
    schedule.scalars = scalars;
}

// Whether a row without gradient needs no replay up to step `reach`.
inline bool may_rest(const AdamSchedule &schedule, int32_t last_step, int64_t reach, bool all_moments) {
    if (last_step == 0 && schedule.params->weight_decay == 0) return true;  // m = v = 0: a step changes no bit
    if (current_to(last_step) >= reach) return true;
    return last_step < 0 && !all_moments && schedule.finality &&
           schedule.highest_after[-last_step] <= kRateSlack * schedule.highest_before[-last_step];
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
