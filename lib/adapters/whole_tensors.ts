// SPDX-License-Identifier: Apache-2.0
/**
 * Tensors of the model that are trained whole beside an adapter and saved with it, as PEFT's `modules_to_save` are: a head,
 * modules, biases. What the checkpoint lacks of a head starts at random.
 */
import { andThen } from "../core/awaitable.ts";
import type { JsonObject } from "../core/json.ts";
import type { Model, ModelConfig } from "../models/model.ts";
import { tensorsOf } from "../models/part_tensors.ts";
import { layersOf } from "../models/parts.ts";
import { storedTensor, vocabularyTables, weightsByName } from "../models/vocabulary.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { DenseParameter } from "../optim/parameters.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, ParameterSize, WeightChange } from "./adapter.ts";
import { adapterWeight, dropWeights, holdWeights } from "./dense_weights.ts";
import { startTensor, tensorShape, weightParameter } from "./model_tensors.ts";
import { trainedBeside } from "./trained_beside.ts";

/**
 * Which tensors are trained, each with its names in the adapter's file: the first is the parameter's, the others hold it once
 * more. An embedding that a head is tied to takes that along only where it has the head's name too: as with PEFT the head
 * otherwise stays what it was, or is trained apart.
 */
export type WholeTensors = ReadonlyMap<string, readonly [string, ...string[]]>;

/** An adapter that also trains tensors of the model, in its own files. @param config What it is recorded with */
export function withTensors(adapter: Adapter, tensors: WholeTensors, config: JsonObject): Adapter {
  return tensors.size === 0 ? adapter : trainedBeside(adapter, tensorsAdapter(tensors), config);
}

function tensorsAdapter(tensors: WholeTensors): Adapter {
  const copies = [...tensors.values()].filter((names) => names.length > 1)
    .map(([first, ...others]) => [first, others] as const);
  const adapter: Adapter = {
    kind: "tensors",
    config: {},
    sites: ["weights"],
    placements: ["device"],
    ...(copies.length > 0 && { copies: new Map(copies) }),
    sizes: (model) => wholeSizes(tensors, model),
    create: (k, model, tokensPerStep) => createWhole(k, adapter, tensors, model, tokensPerStep > 0),
  };
  return adapter;
}

/** A tied head is one of them only where it is trained apart. */
function chosen(tensors: WholeTensors, model: Model): Weight[] {
  return [...weightsByName(model).values()].filter(({ name }) => tensors.has(name));
}

function fileName(tensors: WholeTensors, tensor: string): string {
  return tensors.get(tensor)?.[0] as string;
}

function wholeSizes(tensors: WholeTensors, model: Model): AdapterSizes {
  const parameters = chosen(tensors, model).map((weight): ParameterSize => ({
    name: fileName(tensors, weight.name),
    shape: tensorShape(model, weight),
    count: weight.rows * weight.cols,
    rows: null,
    trained: true,
  }));
  return { parameters, rows: null, replaces: [...tensors.keys()] };
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
    name: fileName(tensors, weight.name),
    shape: tensorShape(model, weight),
  }]));
  const apart = headApart(tensors, model.config);
  const frozen = apart === null || tensors.has(apart) ? null : weightsByName(model).get(apart) as Weight;
  const replace = new Map([...weights, frozen ?? []].flat().map((weight) => [weight.name, weight]));
  holdWeights(k, weights);
  return {
    adapter,
    parameters: [...parameters.values()],
    byLayer: layersOf(model.parts).map((layer) =>
      layer.flatMap((part) => tensorsOf(part).flatMap(({ name }) => parameters.get(name) ?? []))
    ),
    init: (k, seed) => weights.forEach((weight, i) => startTensor(k, model, weight, seed, i)),
    attach: () => ({ hooks: {}, replace }),
    merge: (k) => [
      ...weights.map((weight) => ({
        name: weight.name,
        shape: tensorShape(model, weight),
        apply: (values: Floats) => andThen(k.read(weight.data as Floats), (own) => values.set(own)),
      })),
      ...(frozen === null ? [] : [asStored(model, frozen)]),
    ],
    ...(apart !== null && { mergedConfig: { tie_word_embeddings: false } }),
    activeNeurons: () => 0,
    release: () => dropWeights(k, weights),
  };
}

/** Name of a tied head that is the embedding no more, as one of the two is trained without the other; null where there is none. */
function headApart(tensors: WholeTensors, config: ModelConfig): string | null {
  const tables = vocabularyTables(config);
  if (!tables?.tied || tables.head === null) return null;
  if (tensors.has(tables.head)) return tables.head;
  return tensors.get(tables.embedding)?.length === 1 ? tables.head : null;
}

/** A tied head as a tensor of its own. */
function asStored(model: Model, { name, rows, cols }: Weight): WeightChange {
  const entry = storedTensor(model, name) as TensorEntry;
  return { name, shape: [rows, cols], apply: (values) => readFloatsInto(values, entry) };
}
