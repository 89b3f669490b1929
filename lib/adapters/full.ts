// SPDX-License-Identifier: Apache-2.0
/** Full fine-tuning: every weight of the model becomes a trained copy in the backend's float type. The yardstick of adapters. */
import { andThen } from "../core/awaitable.ts";
import { unknownOptions } from "../core/option_checks.ts";
import type { Model, ModelConfig } from "../models/model.ts";
import { allTensors, tensorsOf } from "../models/part_tensors.ts";
import { type Layer, layersOf } from "../models/parts.ts";
import { trainableWeights } from "../models/trainable.ts";
import type { DenseParameter } from "../optim/parameters.ts";
import { numel, type Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, Resolved } from "./adapter.ts";
import type { AdapterDefinition, ResolveContext } from "./definition.ts";
import { frozenTensors, recordedFrozen } from "./frozen_layers.ts";
import { startTensor, tensorShape, weightParameter } from "./model_tensors.ts";

/** Full fine-tuning as an adapter: its parameters are whatever the copies have become. */
export const FULL = {
  kind: "full",
  summary: "every weight of the model, in f32",
  options: {},
  rows: false,
  lr: 1e-5, // as published
  headLr: 1e-4,
  resolve: fullAdapter,
} as const satisfies AdapterDefinition;

function fullAdapter(
  options: object,
  model: ModelConfig,
  { frozenLayers = 0 }: ResolveContext = {},
): Resolved {
  const left = frozenTensors(model, frozenLayers);
  const problems = unknownOptions(FULL.options, options, "full fine-tuning");
  const adapter: Adapter = {
    kind: "full",
    config: recordedFrozen(frozenLayers),
    sites: ["weights"],
    placements: ["device"],
    trainsModel: true,
    ...(left.size === 0 && { replacesAll: true }),
    sizes: (model) => fullSizes(left, model),
    create: (_k, model) => createFull(adapter, left, model),
  };
  return { adapter, problems };
}

function fullSizes(left: ReadonlySet<string>, model: Model): AdapterSizes {
  const parameters = allTensors(model.parts).filter(({ name }) => !left.has(name))
    .map((weight) => {
      const shape = tensorShape(model, weight);
      return { name: weight.name, shape, count: numel(shape), rows: null, trained: true };
    });
  return { parameters, rows: null };
}

function weightsOf(layer: Layer): Weight[] {
  return layer.flatMap((part) => tensorsOf(part));
}

function createFull(adapter: Adapter, left: ReadonlySet<string>, base: Model): AdapterParams {
  const copies = trainableWeights(base, (name) => !left.has(name));
  const { byName } = copies;
  const parameters = new Map(
    [...byName].map((
      [name, weight],
    ) => [name, { ...weightParameter(weight), shape: tensorShape(base, weight) }]),
  );
  const ofLayer = (layer: Layer): DenseParameter[] =>
    weightsOf(layer).flatMap(({ name }) => parameters.get(name) ?? []);
  return {
    adapter,
    parameters: [...parameters.values()],
    byLayer: layersOf(base.parts).map(ofLayer),
    // The copies already hold the model's values: only what the checkpoint lacks starts at random.
    init: (k, seed) =>
      [...byName.values()].filter(({ name }) => base.fresh.has(name))
        .forEach((weight, i) => startTensor(k, base, weight, seed, i)),
    attach: () => ({ hooks: {}, replace: byName }),
    merge: (k) =>
      [...byName.values()].map((weight) => ({
        name: weight.name,
        ...(base.fresh.has(weight.name) && { shape: tensorShape(base, weight) }),
        apply: (weights) => andThen(k.read(weight.data), (values) => weights.set(values)),
      })),
    activeNeurons: () => 0,
    release: () => copies[Symbol.dispose](),
  };
}
