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

/** Steps of a run over this data: what was planned, or as many as its epochs have. @mutates run.totalSteps */
export function decideSteps(run: Run, data: Dataset): number {
  return run.totalSteps ??= countSteps(data, batchOptions(run), run.settings.epochs);
}

/**
 * The data of a run's steps, each a list of micro-batches, from a state on to the last step.
 *
 * @param from The state to go on from: its step and its position in the data. Default: the start
 * @mutates run.totalSteps
 */
export function* batches(
  run: Run,
  data: Dataset,
  from: { readonly step: number; readonly position?: DataPosition } = { step: 0 },
): Generator<StepData> {
  let left = decideSteps(run, data) - from.step;
  if (left <= 0) return;
  for (const step of trainingSteps(data, batchOptions(run), from.position)) {
    yield step;
    if (--left === 0) return;
  }
}
