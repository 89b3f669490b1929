// SPDX-License-Identifier: Apache-2.0
/** Learning-rate schedules: a rise over the warm-up, then linear, cosine or constant. Pure functions of the step. */
import { optionProblems } from "../core/option_checks.ts";
import { choice, number, type OptionValue } from "../core/options.ts";

/** Choices of a schedule that are settings of a run. */
export const SCHEDULE_OPTIONS = {
  /** Shape after the warm-up. Default `linear`. */
  kind: choice(["linear", "cosine", "constant"], {
    default: "linear",
    help: "learning rate after the warm-up",
    setting: "schedule",
  }),
  /** Share of steps of the warm-up. Default 0.02, as published. */
  warmupRatio: number({
    min: 0,
    max: 1,
    default: 0.02,
    help: "share of the steps over which the rate rises",
  }),
} as const;

/** Shape of the learning rate after its warm-up. */
export type ScheduleKind = OptionValue<typeof SCHEDULE_OPTIONS.kind>;

/** A schedule: its shape, and its warm-up as a share of all steps or as a number of steps. */
export interface Schedule {
  readonly kind: ScheduleKind;
  /** Share of all steps, in [0, 1]; rounded up to whole steps. */
  readonly warmupRatio?: number;
  /** Steps; wins over `warmupRatio`. */
  readonly warmupSteps?: number;
}

/** Warm-up of a schedule, as the constructors take it. */
export type Warmup = Omit<Schedule, "kind">;

const PUBLISHED: Warmup = { warmupRatio: SCHEDULE_OPTIONS.warmupRatio.default };

/** Falls in a straight line to 0 after the warm-up (published: over the first 2% of steps). */
export function linear(warmup: Warmup = PUBLISHED): Schedule {
  return { kind: "linear", ...warmup };
}

/** Falls along half a cosine to 0 after the warm-up. */
export function cosine(warmup: Warmup = PUBLISHED): Schedule {
  return { kind: "cosine", ...warmup };
}

/** Stays after the warm-up. */
export function constant(warmup: Warmup = PUBLISHED): Schedule {
  return { kind: "constant", ...warmup };
}

/** Warm-up in whole steps. */
export function warmupSteps(schedule: Schedule, totalSteps: number): number {
  if (schedule.warmupSteps !== undefined) return schedule.warmupSteps;
  return Math.ceil((schedule.warmupRatio ?? 0) * totalSteps);
}

/**
 * The factor of the peak learning rate at a step t of T (both from 1), with a warm-up of W steps and w = max(W, 1):
 *
 *   t <= W: t / W     else, with p = (t - w) / (T + 1 - w):  linear 1 - p,  cosine (1 + cos(pi p)) / 2,  constant 1
 *
 * The rate would be 0 at t = 0 and t = T + 1, so that, unlike in PyTorch's usual schedules (shifted by a step), no
 * step is spent at rate 0.
 */
export function scheduleFactor(schedule: Schedule, step: number, totalSteps: number): number {
  const warmup = warmupSteps(schedule, totalSteps);
  if (step <= warmup) return step / warmup;
  if (schedule.kind === "constant") return 1;
  const start = Math.max(warmup, 1);
  const progress = Math.min(1, (step - start) / Math.max(1, totalSteps + 1 - start));
  return schedule.kind === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
}

/** What is wrong with a schedule: one sentence each. */
export function scheduleProblems(schedule: Schedule): string[] {
  const { kind, warmupRatio, warmupSteps: steps } = schedule;
  const problems = optionProblems(
    SCHEDULE_OPTIONS,
    { kind, warmupRatio },
    (name) => name === "kind" ? "schedule" : name,
  );
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps >= 0)) {
    problems.push(`warmupSteps is ${steps}, expected a whole number of at least 0`);
  }
  return problems;
}
