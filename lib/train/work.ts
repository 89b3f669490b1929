// SPDX-License-Identifier: Apache-2.0
/** The arithmetic of one optimizer step, counted from shapes: products, attention, adapter, update. */
import type { ModelConfig } from "../models/model.ts";
import type { Run } from "./plan.ts";
import type { StepLoad } from "./step_load.ts";

/** Operations of a step: a multiplication and an addition count as two. */
export interface StepWork {
  /** Products with the model's weights, forward and backward; with `recompute`, forward twice. */
  readonly linearForward: number;
  readonly linearBackward: number;
  readonly attention: number;
  /** Of the adapter: routing, scoring, values and their gradients, or its dense products. */
  readonly adapter: number;
  /** Bytes that norms, activations and sums of the residual stream read and write. */
  readonly streamBytes: number;
  /** Bytes that clipping and the update read and write. */
  readonly updateBytes: number;
}

/** Parameter bytes that one update of an element moves: weight, gradient and two moments read, three written, and the norm. */
const UPDATE_BYTES = 32;

/** Elements of the matrices of one layer. */
function layerElements(config: ModelConfig): number {
  const { hiddenSize: d, intermediateSize: F, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim } = config;
  return 2 * d * H * headDim + 2 * d * Hkv * headDim + 3 * d * F;
}

/** Counts the work of a run's step. */
export function stepWork(run: Run, load: StepLoad): StepWork {
  const { model: { config }, settings, adapterKind } = run;
  const { hiddenSize: d, intermediateSize: F, numHiddenLayers: L, numAttentionHeads: H, headDim } = config;
  const { tokens, targets, pairs } = load;
  const forwards = settings.activations === "recompute" ? 2 : 1;
  const layers = 2 * tokens * L * layerElements(config);
  const head = 2 * targets * d * config.vocabSize;
  const weights = adapterKind.sites.includes("weights") ? 2 : 1;
  const attention = 4 * H * headDim * pairs * L;
  return {
    linearForward: forwards * layers + head,
    linearBackward: weights * (layers + head),
    attention: (forwards + 2.5) * attention,
    adapter: L * tokens * adapterWork(run, forwards),
    streamBytes: 4 * tokens * L * (forwards * (14 * d + 4 * F) + 20 * d + 8 * F),
    updateBytes: UPDATE_BYTES * touchedElements(run, tokens),
  };
}

/** Operations of the adapter for a token in a layer. */
function adapterWork(
  { adapterKind: { kind, config: settings }, model: { config }, memory: { adapterParameters: elements } }:
    Run,
  forwards: number,
): number {
  const size = (name: string): number => Number(settings[name] ?? 0);
  const d = config.hiddenSize;
  switch (kind) {
    case "sparse": {
      const [r, N, routed, K] = [size("neurons"), size("experts"), size("activeExperts"), size("topK")];
      const forward = 2 * d * (N + routed * r / N + K);
      return forwards * forward + 2 * d * (4 * K + 2 * routed);
    }
    case "parallel":
      return (forwards * 4 + 8) * d * size("neurons");
    case "lora": // every element of A and B in a product forward, and in three backward
      return (forwards + 3) * 2 * elements / config.numHiddenLayers;
    default:
      return 0;
  }
}

/** Elements that a step moves. */
function touchedElements(run: Run, tokens: number): number {
  const sizes = run.adapterKind.sizes(run.model, tokens);
  const dense = run.optimizer.config["mode"] === "dense";
  return sizes.parameters.filter(({ trained }) => trained).reduce(
    (sum, { count, rows }) =>
      sum + count * (rows === null || dense ? 1 : sizes.rows?.touchedShare(tokens) ?? 1),
    0,
  );
}

/** All operations of a step. */
export function totalOperations({ linearForward, linearBackward, attention, adapter }: StepWork): number {
  return linearForward + linearBackward + attention + adapter;
}
