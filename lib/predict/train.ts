// SPDX-License-Identifier: Apache-2.0
/** Training with its forecast: run folders say what was predicted, and a device that is full what would fit. */
import type { Dataset } from "../data/dataset.ts";
import type { Forecast } from "../train/forecast.ts";
import { train as trainLoop, type Training, type TrainOptions } from "../train/loop.ts";
import { plannedBatches } from "./batch_sizes.ts";
import { adviseDevice } from "./device_fit.ts";
import { predictMemory } from "./memory.ts";
import type { Run } from "../train/plan.ts";

/** Predictions by counting. */
export const FORECAST: Forecast = {
  memory: (run, data, evalData) => predictMemory(run, plannedBatches(run, data, evalData)),
  adviseDevice,
};

/** `train` of the loop with {@linkcode FORECAST}, unless the options bring another. */
export function train(run: Run, data: Dataset, options: TrainOptions = {}): Training {
  return trainLoop(run, data, { forecast: FORECAST, ...options });
}
