// SPDX-License-Identifier: Apache-2.0
/** Where a run had best compute with the rows of its adapter: predicted by the cost model from measured rates. */
import { layersOf, linearSize, lowestOf } from "../models/parts.ts";
import { ACTIVATION_POLICIES } from "../activations/registry.ts";
import type { RowSelection } from "../adapters/adapter.ts";
import type { Model } from "../models/model.ts";
import type { PlacementChoice } from "../train/placement.ts";
import { plan, type Run, type RunOptions } from "../train/plan.ts";
import { choosePlacement, predictSteps, type StepPrediction, type StepSizes } from "./cost_model.ts";
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

/** `plan` with the way that is the quickest at these rates, of those that the options leave open. */
export function planAt(model: Model, options: RunOptions, rates: LaneRates): MeasuredPlan {
  const run = plan(model, options);
  const { selection, splitRefusal } = run.adapterKind;
  if (selection === undefined) return { run, placements: [] };
  const sizes = stepSizes(run, selection, options);
  const { placement, halves } = options;
  const best = choosePlacement(sizes, rates, {
    placement: placement === "auto" ? undefined : placement,
    halves: splitRefusal !== undefined ? 1 : halves === "auto" ? undefined : halves,
  });
  return {
    run: plan(model, { ...options, placement: best.placement, halves: best.halves }),
    placements: predictSteps(sizes, rates),
  };
}

/** What the time of a run's step depends on. Rows are kept over micro-batches only in room that was asked for. */
function stepSizes(
  { model: { config, parts, kernels }, settings: { batch, activations }, rows }: Run,
  { neurons, experts, activeExperts, topK }: RowSelection,
  { cachedRows = null }: PlacementChoice,
): StepSizes {
  const [attention, ffn] = [lowestOf(parts, "attention"), lowestOf(parts, "ffn")];
  return {
    tokens: batch.micro * batch.seqLen,
    sequenceTokens: batch.seqLen,
    micros: Math.ceil(batch.size / batch.micro),
    layers: layersOf(parts).length,
    hidden: config.hiddenSize,
    feedForward: ffn ? linearSize(ffn.down).inputs : 0,
    queryColumns: attention ? attention.heads * attention.headDim : 0,
    keyColumns: attention ? attention.kvHeads * attention.headDim : 0,
    recompute: ACTIVATION_POLICIES[activations].reruns,
    neurons,
    experts,
    activeExperts,
    topK,
    activationBytes: kernels.float === "f64" ? 8 : 4,
    rowBytes: kernels.compute === "bf16" ? 2 : 4,
    gradientBytes: 4,
    cachedRows: cachedRows === null ? 0 : rows.cachedRows,
  };
}
