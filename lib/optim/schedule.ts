// SPDX-License-Identifier: Apache-2.0
/** Learning-rate schedules: a rise over the warm-up, then linear, cosine or constant. Pure functions of the step. */

/** Shape of the learning rate after its warm-up. */
export type ScheduleKind = "linear" | "cosine" | "constant";

/** A schedule: its shape, and its warm-up as a share of all steps or as a number of steps. */
export interface Schedule {
  readonly kind: ScheduleKind;
  /** Share of all steps, in [0, 1]; rounded up to whole steps. */
  readonly warmupRatio?: number;
  /** Steps; wins over `warmupRatio`. */
  readonly warmupSteps?: number;
}

/** The kinds there are. */
export const SCHEDULE_KINDS: readonly ScheduleKind[] = ["linear", "cosine", "constant"];

/** Share of steps the published runs warm up for. */
export const PUBLISHED_WARMUP_RATIO = 0.02;

/** Warm-up of a schedule, as the constructors take it. */
export type Warmup = Omit<Schedule, "kind">;

/** Falls in a straight line to 0 after the warm-up (published: over the first 2% of steps). */
export function linear(warmup: Warmup = { warmupRatio: PUBLISHED_WARMUP_RATIO }): Schedule {
  return { kind: "linear", ...warmup };
}

/** Falls along half a cosine to 0 after the warm-up. */
export function cosine(warmup: Warmup = { warmupRatio: PUBLISHED_WARMUP_RATIO }): Schedule {
  return { kind: "cosine", ...warmup };
}

/** Stays after the warm-up. */
export function constant(warmup: Warmup = { warmupRatio: PUBLISHED_WARMUP_RATIO }): Schedule {
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
  const problems: string[] = [];
  if (!SCHEDULE_KINDS.includes(schedule.kind)) {
    problems.push(`schedule is "${schedule.kind}", expected ${SCHEDULE_KINDS.join(", ")}`);
  }
  const { warmupRatio: ratio, warmupSteps: steps } = schedule;
  if (ratio !== undefined && !(ratio >= 0 && ratio <= 1)) {
    problems.push(`warmupRatio is ${ratio}, expected a number from 0 to 1`);
  }
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps >= 0)) {
    problems.push(`warmupSteps is ${steps}, expected a whole number of at least 0`);
  }
  return problems;
}
