// SPDX-License-Identifier: Apache-2.0
/**
 * Bottlenecks (Houlsby et al., ICML 2019): A(h) = drop(f(h down^T + a)) up^T + b with r neurons, f the model's own activation,
 * dropout in training alone and no residual path, one in each of some layers. They begin at 0: up and both biases are zeros.
 */
import type { DropoutMask } from "../../core/rng.ts";
import type { BranchHook } from "../../models/hooks.ts";
import type { ModelConfig } from "../../models/model.ts";
import { layersOf } from "../../models/parts.ts";
import { namedParts } from "../../models/tensor_names.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import { activationBackward, activationForward } from "../../ops/activation.ts";
import type { ActivationKind } from "../../ops/kernels/model.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import { writeFloats } from "../../ops/model_memory.ts";
import { numel, type Tensor, type Weight } from "../../tensor/tensor.ts";
import { addedTensorName, type ParameterSize, type TrainingPlace } from "../adapter.ts";
import { adapterWeight } from "../dense_weights.ts";
import { isIn, layerAt } from "../frozen_layers.ts";
import { weightParameter } from "../model_tensors.ts";

/** The weights of one: (r,D), (1,r), (D,r), (1,D). */
export interface Bottleneck {
  readonly down: Weight;
  readonly downBias: Weight;
  readonly up: Weight;
  readonly upBias: Weight;
}

/** Where bottlenecks are, and how wide. */
export interface BottleneckPlaces {
  /** By layer, the module that its tensors are named after; null where it has none. */
  readonly modules: readonly (string | null)[];
  /** What their tensors are called before the part: nothing of those beside the module. */
  readonly prefix: string;
  readonly neurons: number;
  readonly hidden: number;
}

const PARTS = ["down", "downBias", "up", "upBias"] as const;

function shapeOf(part: keyof Bottleneck, neurons: number, hidden: number): readonly [number, number] {
  return { down: [neurons, hidden], downBias: [1, neurons], up: [hidden, neurons], upBias: [1, hidden] }[
    part
  ] as [number, number];
}

function nameOf(module: string, prefix: string, part: string): string {
  const name = part.replace("Bias", "_bias");
  return addedTensorName(module, prefix === "" ? name : `${prefix}_${name}`);
}

/** Sizes of the parameters of all. */
export function bottleneckSizes({ modules, prefix, neurons, hidden }: BottleneckPlaces): ParameterSize[] {
  return modules.flatMap((module) =>
    module === null ? [] : PARTS.map((part): ParameterSize => {
      const [rows, cols] = shapeOf(part, neurons, hidden);
      const shape = rows === 1 ? [cols] : [rows, cols];
      return { name: nameOf(module, prefix, part), shape, count: numel(shape), rows: null, trained: true };
    })
  );
}

/** All of them, zeros. @returns By layer */
export function createBottlenecks(
  k: Kernels,
  { modules, prefix, neurons, hidden }: BottleneckPlaces,
  trained: boolean,
): (Bottleneck | null)[] {
  return modules.map((module) => {
    if (module === null) return null;
    const weights = PARTS.map((part) => [
      part,
      adapterWeight(k, nameOf(module, prefix, part), ...shapeOf(part, neurons, hidden), trained),
    ]);
    return Object.fromEntries(weights) as Record<keyof Bottleneck, Weight>;
  });
}

/** The weights of one, in the order of its parameters; none of none. */
export function bottleneckWeights(one: Bottleneck | null): Weight[] {
  return one === null ? [] : PARTS.map((part) => one[part]);
}

/** The start: down N(0, std^2), random numbers of a layer's own; all else 0. @mutates layers */
export function startBottlenecks(
  k: Kernels,
  layers: readonly (Bottleneck | null)[],
  seed: number,
  std: number,
): void {
  for (const [layer, one] of layers.entries()) {
    if (one === null) continue;
    writeFloats(k, weightParameter(one.down).data, (data) => k.randomNormal(data, seed, layer, std));
    for (const part of ["downBias", "up", "upBias"] as const) k.zero(weightParameter(one[part]).data);
  }
}

/** The activation of a model's feed-forwards. */
export function backboneActivation(config: ModelConfig): ActivationKind {
  const parts = layersOf(namedParts(config)).flat();
  const found = parts.flatMap((part) =>
    part.kind === "ffn" || part.kind === "experts" ? [part.activation] : []
  );
  return found[0] ?? "relu";
}

/** Which bottlenecks of a layer their masks are of: part of the definition, as it decides their random numbers. */
export type BottleneckSite = "beside" | "wiring";
/** Masks of a site begin here, behind those of all products of a LoRA. */
const FIRST_MASK: Readonly<Record<BottleneckSite, number>> = { beside: 1 << 24, wiring: 2 << 24 };

/** Dropout of neurons in training. */
export interface BottleneckDropout {
  readonly probability: number;
  readonly site: BottleneckSite;
  readonly training: TrainingPlace | undefined;
  /** Whether a layer's rows are those that an encoder reads, beside a decoder. */
  readonly readsSource: (layer: number) => boolean;
}

/** The mask of a layer's neurons: a function of seed, step and place among the step's tokens alone, however these are cut. */
function maskOf(
  { probability, site, training, readsSource }: BottleneckDropout,
  layer: number,
  neurons: number,
): DropoutMask | null {
  if (!training || probability === 0) return null;
  const { seed, step, firstToken, firstSource = firstToken } = training;
  const first = (readsSource(layer) ? firstSource : firstToken) * neurons;
  return { seed, stream: step, part: FIRST_MASK[site] + layer, first, probability };
}

/** What is left of neurons, or of their gradients; x itself without a mask. */
function dropped(k: Kernels, x: Tensor, mask: DropoutMask | null): Tensor {
  if (mask === null) return x;
  const kept = arenaTensor(k, x.shape);
  k.dropout(kept.data, x.data, mask, false);
  return kept;
}

/** Keeps nothing for backward, which makes the few neurons again. */
export function bottleneckHook(
  k: Kernels,
  layers: readonly (Bottleneck | null)[],
  kind: ActivationKind,
  dropout: BottleneckDropout,
): BranchHook<null> {
  const inner = (h: Tensor, { down, downBias }: Bottleneck): Tensor =>
    linearForward(k, h, down, { bias: downBias });
  const at = (layer: number): Bottleneck => layerAt(layers, layer);
  return {
    has: (layer) => isIn(layers, layer),
    residualsOnHost: true, // there are none: forward need not run again
    forward(layer, h, y) {
      const one = at(layer);
      const mark = k.arena.mark();
      const z = activationForward(k, { x: inner(h, one), up: null }, kind, { inPlace: true });
      const kept = dropped(k, z, maskOf(dropout, layer, one.down.rows));
      linearForward(k, kept, one.up, { bias: one.upBias, into: y });
      k.arena.release(mark);
      return null;
    },
    /** With z' = drop(z): dz' = dy up, dup += dy^T z', db += dy;  da = drop(dz') f'(a), ddown += da^T h, dh = da down. */
    backward(layer, _, h, dy, dh) {
      const one = at(layer);
      const mark = k.arena.mark();
      const x = inner(h, one);
      const z = activationForward(k, { x, up: null }, kind);
      const mask = maskOf(dropout, layer, one.down.rows);
      const dz = linearBackward(k, dropped(k, z, mask), one.up, dy, { bias: one.upBias });
      const { dx } = activationBackward(k, { x, up: null }, kind, dropped(k, dz, mask), { inPlace: true });
      linearBackward(k, h, one.down, dx, { bias: one.downBias, into: dh });
      k.arena.release(mark);
    },
  };
}
