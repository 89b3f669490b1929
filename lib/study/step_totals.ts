// SPDX-License-Identifier: Apache-2.0
/** Sums over the steps of a cell, gathered step by step: of a run of any length, in constant memory. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import type { TrainEvent } from "../train/loop.ts";
import { readMetrics } from "../train/metrics_log.ts";

/** What is summed. */
export interface StepTotals {
  steps: number;
  tokens: number;
  /** Of the steps alone. */
  seconds: number;
  lossFirst: number;
  lossLast: number;
  /** Of the last step; null when none was measured there. */
  evalLoss: number | null;
  /** Most of any step. */
  activationBytes: number;
  /** Sum over the last tenth of the steps, and how many these are. */
  activeNeuronsAtEnd: number;
  stepsAtEnd: number;
}

type StepNumbers =
  & Pick<TrainEvent, "step" | "loss" | "tokens" | "tokensPerSecond" | "activeNeurons" | "activationBytes">
  & Partial<Pick<TrainEvent, "evalLoss">>;

/** Before the first step. */
export function emptyTotals(): StepTotals {
  return {
    ...{ steps: 0, tokens: 0, seconds: 0, lossFirst: NaN, lossLast: NaN, evalLoss: null },
    ...{ activationBytes: 0, activeNeuronsAtEnd: 0, stepsAtEnd: 0 },
  };
}

/** Adds the next step. @mutates totals */
export function addStep(totals: StepTotals, step: StepNumbers, totalSteps: number): void {
  if (totals.steps === 0) totals.lossFirst = step.loss;
  totals.steps++;
  totals.tokens += step.tokens;
  totals.seconds += step.tokens / step.tokensPerSecond;
  totals.lossLast = step.loss;
  totals.evalLoss = step.evalLoss ?? null;
  totals.activationBytes = Math.max(totals.activationBytes, step.activationBytes);
  if (step.step <= totalSteps - Math.ceil(totalSteps / 10)) return;
  totals.activeNeuronsAtEnd += step.activeNeurons;
  totals.stepsAtEnd++;
}

/**
 * The same of a cell's `metrics.jsonl`: with the steps of a part that was killed too.
 *
 * @throws {UserError} When a line is damaged or missing: the cell's numbers would be of other steps than its name says
 */
export async function readTotals(folder: string, totalSteps: number): Promise<StepTotals> {
  const path = join(folder, "metrics.jsonl");
  const totals = emptyTotals();
  for await (const { lines } of readMetrics(path)) {
    for (const { start, line } of lines) {
      if (line === null) throw new UserError(`${path} is damaged at byte ${start}: ${WAY_OUT}`);
      addStep(totals, line as unknown as StepNumbers, totalSteps);
    }
  }
  if (totals.steps === totalSteps) return totals;
  throw new UserError(`${path} has ${totals.steps} steps, but the run took ${totalSteps}: ${WAY_OUT}`);
}

const WAY_OUT = "remove the cell's folder to train it anew";
