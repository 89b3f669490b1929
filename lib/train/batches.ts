// SPDX-License-Identifier: Apache-2.0
/** The steps of a run over its data, for the loop here and for loops of one's own. */
import {
  type BatchOptions,
  countSteps,
  type DataPosition,
  type StepData,
  trainingSteps,
} from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Run } from "./plan.ts";

/** How a run cuts its data. */
export function batchOptions({ settings }: Run): BatchOptions {
  const { size, micro, packing } = settings.batch;
  return {
    batchSize: size,
    microBatchSize: micro,
    rows: packing ? "packing" : "padding",
    shuffleSeed: settings.seed,
  };
}

/** Steps of a run over this data: what was planned, or as many as its epochs have. */
export function decideSteps(run: Run, data: Dataset): number {
  return run.totalSteps ?? countSteps(data, batchOptions(run), run.settings.epochs);
}

/** The run with the number of steps that it has on this data. */
export function runOn(run: Run, data: Dataset): Run & { readonly totalSteps: number } {
  return { ...run, totalSteps: decideSteps(run, data) };
}

/** The data of a step, and of how many the run has in all. */
export interface RunStepData extends StepData {
  readonly totalSteps: number;
}

/**
 * The data of a run's steps, each a list of micro-batches, from a state on to the last step.
 *
 * @param from The state to go on from: its step and its position in the data. Default: the start
 */
export function* batches(
  run: Run,
  data: Dataset,
  from: { readonly step: number; readonly position?: DataPosition } = { step: 0 },
): Generator<RunStepData> {
  const totalSteps = decideSteps(run, data);
  let left = totalSteps - from.step;
  if (left <= 0) return;
  for (const step of trainingSteps(data, batchOptions(run), from.position)) {
    yield { ...step, totalSteps };
    if (--left === 0) return;
  }
}
