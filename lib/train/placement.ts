// SPDX-License-Identifier: Apache-2.0
/** How a run computes with the rows of its adapter: chosen by the cost model from measured rates, or forced. */
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../activations/registry.ts";
import type { Adapter, Placement, RowPlacement, RowSelection } from "../adapters/adapter.ts";
import { optionProblems, withDefaults } from "../core/option_checks.ts";
import { choice, integer, type OptionsOf } from "../core/options.ts";
import type { Model } from "../models/model.ts";
import {
  choosePlacement,
  type LaneRates,
  predictSteps,
  type StepPrediction,
  type StepSizes,
} from "./cost_model.ts";

/** Where and in how many parts rows are computed with. */
export const PLACEMENT_OPTIONS = {
  /** `auto` is what the cost model predicts to be quicker; `host` where model and rows share one memory. */
  placement: choice(["auto", "host", "device"], {
    default: "auto",
    ofRows: true,
    mayChange: true,
    help: "where the adapter's rows are multiplied: in host memory, or where the model is; auto predicts",
  }),
  /** Parts that a micro-batch is computed in. `auto` is by prediction, else 1. */
  halves: choice(["auto", "1", "2"], {
    default: "auto",
    ofRows: true,
    mayChange: true,
    help: "parts of a micro-batch that take turns, so that host work of one hides behind the other",
  }),
  /** Rows of each layer that the model's memory has room for with placement `device`; null for all. Default null. */
  cachedRows: integer({
    min: 1,
    nullable: true,
    defaultText: "all",
    ofRows: true,
    mayChange: "asked",
    help: "rows of each layer that the model's memory has room for with --placement device",
  }),
} as const;

/** What may be asked for. */
export interface PlacementChoice extends OptionsOf<typeof PLACEMENT_OPTIONS> {
  /** Measured rates of the machine. Default null: nothing is predicted. */
  readonly rates?: LaneRates | null;
}

/** What was decided. */
export interface RunPlacement {
  readonly placement: Placement;
  readonly halves: 1 | 2;
  readonly cachedRows: number;
  /** Of all ways, the quickest first; none without rates. */
  readonly predictions: readonly StepPrediction[];
}

/** The sizes of a run that placement and halves depend on. */
interface RunSizes {
  readonly batch: { readonly size: number; readonly micro: number; readonly seqLen: number };
  readonly activations: ActivationPolicyName;
}

/** Decides. Problems: one sentence each. */
export function resolvePlacement(
  choice: PlacementChoice,
  adapter: Adapter,
  model: Model,
  sizes: RunSizes,
): { decided: RunPlacement; problems: string[] } {
  const { rates = null } = choice;
  const { placement, halves, cachedRows = null } = withDefaults(PLACEMENT_OPTIONS, choice);
  const { selection, splitRefusal } = adapter;
  const problems = optionProblems(PLACEMENT_OPTIONS, { placement, halves, cachedRows });
  if (placement === "device" && !adapter.placements.includes("host")) {
    problems.push(`placement is device, but the ${adapter.kind} adapter is always where the model is`);
  }
  if (halves === 2 && splitRefusal !== undefined) problems.push(`halves is 2, but ${splitRefusal}: use 1`);
  const room = Math.min(cachedRows ?? Infinity, selection?.neurons ?? 1);
  const fixed: RunPlacement = {
    placement: placement === "auto" ? "host" : placement,
    halves: halves === "auto" ? 1 : halves,
    cachedRows: room,
    predictions: [],
  };
  if (rates === null || selection === undefined || problems.length > 0) return { decided: fixed, problems };
  const stepSizes = sizesOf(selection, model, sizes, cachedRows === null ? 0 : room);
  const wantedHalves = splitRefusal !== undefined ? 1 : halves === "auto" ? undefined : halves;
  const best = choosePlacement(stepSizes, rates, {
    placement: placement === "auto" ? undefined : placement,
    halves: wantedHalves,
  });
  return {
    decided: {
      placement: best.placement,
      halves: best.halves,
      cachedRows: room,
      predictions: predictSteps(stepSizes, rates),
    },
    problems,
  };
}

/** Where a run's adapter really works: what was decided, as far as the adapter leaves a choice. */
export function usedPlacement({ placements }: Adapter, { placement }: RunPlacement): Placement {
  return placements.includes(placement) ? placement : placements[0] ?? "device";
}

/** As adapters are told. */
export function rowPlacement({ placement, cachedRows }: RunPlacement): RowPlacement {
  return placement === "host" ? { kind: "host" } : { kind: "device", cachedRows };
}

function sizesOf(
  { neurons, experts, activeExperts, topK }: RowSelection,
  { config, kernels }: Model,
  { batch, activations }: RunSizes,
  cachedRows: number,
): StepSizes {
  return {
    tokens: batch.micro * batch.seqLen,
    sequenceTokens: batch.seqLen,
    micros: Math.ceil(batch.size / batch.micro),
    layers: config.numHiddenLayers,
    hidden: config.hiddenSize,
    feedForward: config.intermediateSize,
    queryColumns: config.numAttentionHeads * config.headDim,
    keyColumns: config.numKeyValueHeads * config.headDim,
    recompute: ACTIVATION_POLICIES[activations].reruns,
    neurons,
    experts,
    activeExperts,
    topK,
    activationBytes: kernels.float === "f64" ? 8 : 4,
    rowBytes: kernels.compute === "bf16" ? 2 : 4,
    gradientBytes: 4,
    cachedRows,
  };
}
