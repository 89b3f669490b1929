// SPDX-License-Identifier: Apache-2.0
/**
 * Tensors of the model that are trained whole beside an adapter and saved with it, as PEFT's `modules_to_save` are: a head,
 * modules, biases. What the checkpoint lacks of a head starts at random.
 */
import { andThen } from "../core/awaitable.ts";
import type { JsonObject } from "../core/json.ts";
import type { Model } from "../models/model.ts";
import { allTensors, layersOf, tensorsOf } from "../models/parts.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { DenseParameter } from "../optim/parameters.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, ParameterSize } from "./adapter.ts";
import { adapterWeight, dropWeights, holdWeights } from "./dense_weights.ts";
import { joinedAdapters } from "./joined.ts";
import { startTensor, tensorShape, weightParameter } from "./model_tensors.ts";

/** Which tensors are trained, each with its name in the adapter's file. */
export type WholeTensors = ReadonlyMap<string, string>;

/** An adapter that also trains tensors of the model, in its own files. @param config What it is recorded with */
export function withTensors(adapter: Adapter, tensors: WholeTensors, config: JsonObject): Adapter {
  if (tensors.size === 0) return adapter;
  const whole = tensorsAdapter(tensors);
  const both = joinedAdapters([adapter, whole]);
  const own: Adapter = {
    ...adapter,
    config: { ...adapter.config, ...config },
    sizes: both.sizes,
    create(k, model, tokensPerStep) {
      const { parts = [], ...joined } = both.create(k, model, tokensPerStep);
      const [first, second] = parts as readonly [AdapterParams, AdapterParams];
      return {
        ...joined,
        adapter: own,
        ...(first.mergedConfig && { mergedConfig: first.mergedConfig }),
        ...(first.merge && {
          *merge(kernels: Kernels) {
            yield* first.merge?.(kernels) ?? [];
            yield* second.merge?.(kernels) ?? [];
          },
        }),
      };
    },
  };
  return own;
}

function tensorsAdapter(tensors: WholeTensors): Adapter {
  const adapter: Adapter = {
    kind: "tensors",
    config: {},
    sites: ["weights"],
    placements: ["device"],
    sizes: (model) => wholeSizes(tensors, model),
    create: (k, model, tokensPerStep) => createWhole(k, adapter, tensors, model, tokensPerStep > 0),
  };
  return adapter;
}

function chosen(tensors: WholeTensors, { parts }: Model): Weight[] {
  return allTensors(parts).filter(({ name }) => tensors.has(name));
}

function wholeSizes(tensors: WholeTensors, model: Model): AdapterSizes {
  const parameters = chosen(tensors, model).map((weight): ParameterSize => ({
    name: tensors.get(weight.name) as string,
    shape: tensorShape(model, weight),
    count: weight.rows * weight.cols,
    rows: null,
    trained: true,
  }));
  return { parameters, rows: null };
}

function createWhole(
  k: Kernels,
  adapter: Adapter,
  tensors: WholeTensors,
  model: Model,
  trained: boolean,
): AdapterParams {
  const weights = chosen(tensors, model).map(({ name, rows, cols }) =>
    adapterWeight(k, name, rows, cols, trained)
  );
  const parameters = new Map(weights.map((weight): [string, DenseParameter] => [weight.name, {
    ...weightParameter(weight),
    name: tensors.get(weight.name) as string,
    shape: tensorShape(model, weight),
  }]));
  const replace = new Map(weights.map((weight) => [weight.name, weight]));
  holdWeights(k, weights);
  return {
    adapter,
    parameters: [...parameters.values()],
    byLayer: layersOf(model.parts).map((layer) =>
      layer.flatMap((part) => tensorsOf(part).flatMap(({ name }) => parameters.get(name) ?? []))
    ),
    init: (k, seed) => weights.forEach((weight, i) => startTensor(k, model, weight, seed, i)),
    attach: () => ({ hooks: {}, replace }),
    merge: (k) =>
      weights.map((weight) => ({
        name: weight.name,
        shape: tensorShape(model, weight),
        apply: (values) => andThen(k.read(weight.data as Floats), (own) => values.set(own)),
      })),
    activeNeurons: () => 0,
    release: () => dropWeights(k, weights),
  };
}
