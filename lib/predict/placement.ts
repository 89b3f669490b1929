// SPDX-License-Identifier: Apache-2.0
/** Where a run had best compute with the rows of its adapter: predicted by the cost model from measured rates. */
import type { Model } from "../models/model.ts";
import type { PlacementChoice } from "../train/placement.ts";
import { plan, type Run, type RunOptions } from "../train/plan.ts";
import { predictSteps, type StepPrediction, type StepWay } from "./cost_model.ts";
import { measureRates } from "./machine/measure.ts";
import type { LaneRates } from "./machine/rates.ts";

/** A run, and what was predicted of the ways to compute with its rows. */
export interface MeasuredPlan {
  readonly run: Run;
  /** The quickest first; none where there is no choice, and nothing was measured. */
  readonly placements: readonly StepPrediction[];
}

/**
 * `plan`, by the rates of the machine where model and host have memories of their own and the adapter leaves a choice.
 *
 * @throws {ValidationError} Listing all mistakes at once
 */
export async function planMeasured(model: Model, options: RunOptions = {}): Promise<MeasuredPlan> {
  const run = plan(model, options);
  const { selection } = run.adapterKind;
  if (model.kernels.link.direct || selection === undefined) return { run, placements: [] };
  const { batch } = run.settings;
  const sizes = { tokens: batch.micro * batch.seqLen, sparse: selection };
  return planAt(model, options, await measureRates(model, sizes));
}

/** `plan` with the way that is the quickest at these rates, of those that the options leave open and the device has room for. */
export async function planAt(model: Model, options: RunOptions, rates: LaneRates): Promise<MeasuredPlan> {
  const run = plan(model, options);
  if (run.adapterKind.placements.length < 2) return { run, placements: [] };
  const placements = await predictSteps(run, rates);
  const { placement, halves } = chosenWay(placements, options, model.kernels.device?.facts().freeBytes);
  return { run: plan(model, { ...options, placement, halves }), placements };
}

/**
 * The quickest of the ways that options leave open; what they force is taken whether or not there is room for it.
 *
 * @param ways The quickest first
 */
export function chosenWay(
  ways: readonly StepPrediction[],
  { placement = "auto", halves = "auto" }: PlacementChoice,
  freeBytes = Infinity,
): StepWay {
  const asked = ways.filter((way) =>
    (placement === "auto" || way.placement === placement) && (halves === "auto" || way.halves === halves)
  );
  return asked.find(({ deviceBytes }) => deviceBytes <= freeBytes) ?? asked[0] as StepWay;
}
