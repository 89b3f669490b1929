// SPDX-License-Identifier: Apache-2.0
/**
 * A dense ReLU branch as more neurons of a feed-forward: how the parallel adapter becomes part of a model.
 *
 * Where neurons are of ReLU themselves, its own are theirs. A gated neuron gives silu(g) u value, with silu(g) = g sigmoid(g). With g = S z, z = h . key, and u held at 1 / S by a
 * bias, that is z sigmoid(S z) value: ReLU(z) value but for |z| below about 20 / S, where it is off by at most 0.28 / S.
 * S is a power of two, so that scaling a key rounds nothing, and so large (2^60) that the difference is far below the
 * rounding of any float: z = 1 in f32 is off by 6e-8 anyway, this by 2.4e-19. S z stays finite in f32 and bf16 up to
 * |z| = 2^67; f16 has no room for S. Gradients of the new `up` biases are scaled by S: the result is for inference.
 */
import { andThen } from "../core/awaitable.ts";
import { FAMILIES, familyOf, smallestOf } from "../models/families/registry.ts";
import type { Family } from "../models/families/family.ts";
import type { JsonObject } from "../core/json.ts";
import type { ModelConfig } from "../models/model.ts";
import { linearSize, linearsOf } from "../models/part_tensors.ts";
import { type Ffn, layersOf, type Linear, partOf, type TensorShape } from "../models/parts.ts";
import { moduleOf, namedParts } from "../models/tensor_names.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, WeightChange } from "./adapter.ts";
import type { ByLayer } from "./frozen_layers.ts";

/** One layer of a dense branch: y = ReLU(h keys^T) values. */
export interface KeysAndValues {
  /** (R,D): row j is key j. */
  readonly keys: Weight;
  /** (R,D): row j is value j, so that y = z values is the data-backward product of this weight. */
  readonly values: Weight;
}

const GATE_SCALE = 2 ** 60;

/** What says in `config.json` that feed-forwards have biases. */
const WITH_BIASES = { mlp_bias: true } as const;

/** Why a model cannot be widened; nothing when it can. */
export function wideningRefusal(config: ModelConfig): Pick<Adapter, "mergeRefusal"> {
  if (isOfRelu(config) || mayHaveBiases(familyOf(config))) return {};
  const others = [...FAMILIES.values()].filter(mayHaveBiases).map(({ modelType }) => modelType);
  return {
    mergeRefusal: `ReLU(h A) B needs neurons of ReLU, or with a bias in a feed-forward gated by silu, ` +
      `and this ${config.modelType} has neither (${others.join(", ")} may have such biases)`,
  };
}

/** Whether neurons of all layers are of ReLU; of one stack, whose width is one field. */
function isOfRelu(config: ModelConfig): boolean {
  const parts = namedParts(config);
  return parts.stacks.length === 1 && layersOf(parts).every((layer) => {
    const part = partOf(layer, "ffn");
    return part?.gated === false && part.activation === "relu";
  });
}

/** Whether feed-forwards of a family are gated by silu and may have biases; without one, no neuron can hold u fixed. */
function mayHaveBiases(family: Family): boolean {
  const parts = layersOf(smallestOf(family, WITH_BIASES)).map((layer) => partOf(layer, "ffn"));
  return parts.every((part) =>
    part !== null && part.gated && part.activation === "silu" && part.inputs.length === 2 &&
    linearsOf(part).every(({ bias }) => bias !== null)
  );
}

/**
 * What widening does to the tensors and the configuration of a model.
 *
 * @param neurons R of each layer     @param layers Null in those without a branch, whose new neurons give nothing
 */
export function widening(
  config: ModelConfig,
  neurons: number,
  layers: ByLayer<KeysAndValues>,
): Required<Pick<AdapterParams, "merge" | "mergedConfig">> {
  const parts = layersOf(namedParts(config)).map((layer) => partOf(layer, "ffn") as Ffn<TensorShape>);
  const [first] = parts;
  const before = first === undefined ? 0 : widthOf(first);
  return {
    mergedConfig: renamed(config, {
      ...(first?.gated === true && !first.down.bias ? WITH_BIASES : {}),
      intermediate_size: before + neurons,
    }),
    merge: (k) => layers.flatMap((layer, i) => layerChanges(k, neurons, layer, parts[i] as Ffn<TensorShape>)),
  };
}

/** Neurons of a feed-forward. */
function widthOf({ down }: Ffn<TensorShape>): number {
  return linearSize(down as Linear<{ rows: number; cols: number }>).inputs;
}

/** Fields of `config.json` as the family calls them. */
function renamed(config: ModelConfig, fields: JsonObject): JsonObject {
  const { fieldNames = {} } = familyOf(config);
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [fieldNames[name] ?? name, value]));
}

/** Neurons that are added to those that a feed-forward has. */
interface Added {
  readonly k: Kernels;
  readonly before: number;
  readonly wide: number;
  /** D. */
  readonly hidden: number;
}

/**
 * A matrix with more neurons.
 *
 * @param linear Its rows are neurons, or its columns are
 * @param added (R,D) what the new ones are; zeros when null     @param scale Of that
 */
function grown(
  { k, before, wide, hidden }: Added,
  { weight: { name } }: Linear<TensorShape>,
  isByRows: boolean,
  added: Weight | null,
  scale = 1,
): WeightChange {
  const neurons = wide - before;
  const write = (weights: Floats, read: Floats): void => {
    if (isByRows) return weights.set(read.map((x) => x * scale), before * hidden);
    for (let d = 0; d < hidden; d++) {
      for (let j = 0; j < neurons; j++) {
        weights[d * wide + before + j] = scale * (read[j * hidden + d] as number);
      }
    }
  };
  return {
    name,
    shape: isByRows ? [wide, hidden] : [hidden, wide],
    apply: (weights) =>
      added === null ? undefined : andThen(k.read(added.data as Floats), (read) => write(weights, read)),
  };
}

/** A matrix, or a bias, that grows by zeros, or begins to be. */
function grownBy(
  name: string,
  shape: readonly number[],
  apply: WeightChange["apply"] = () => {},
): WeightChange {
  return { name, shape, apply };
}

function biasName({ weight }: Linear<TensorShape>): string {
  return `${moduleOf(weight.name)}.bias`;
}

function layerChanges(
  k: Kernels,
  neurons: number,
  layer: KeysAndValues | null,
  part: Ffn<TensorShape>,
): WeightChange[] {
  const before = widthOf(part);
  const hidden = linearSize(part.down as Linear<{ rows: number; cols: number }>).outputs;
  const added = { k, before, wide: before + neurons, hidden };
  const rows = layer ?? { keys: null, values: null };
  return part.gated ? gatedChanges(added, rows, part) : reluChanges(added, rows, part);
}

/** What new neurons of a layer are; zeros when null. */
type NewRows = { readonly [Part in keyof KeysAndValues]: Weight | null };

function reluChanges(added: Added, { keys, values }: NewRows, part: Ffn<TensorShape>): WeightChange[] {
  const { inputs: [up], down } = part as Ffn<TensorShape> & { inputs: readonly [Linear<TensorShape>] };
  return [
    grown(added, up, up.transposed !== true, keys),
    grown(added, down, down.transposed === true, values),
    ...(up.bias === null ? [] : [grownBy(biasName(up), [added.wide])]),
  ];
}

function gatedChanges(added: Added, { keys, values }: NewRows, part: Ffn<TensorShape>): WeightChange[] {
  const { before, wide, hidden } = added;
  const [gate, up] = part.inputs as [Linear<TensorShape>, Linear<TensorShape>];
  const { down } = part;
  return [
    grown(added, gate, true, keys, GATE_SCALE),
    grownBy(up.weight.name, [wide, hidden]),
    grown(added, down, false, values),
    grownBy(biasName(gate), [wide]),
    grownBy(biasName(up), [wide], (weights) => void weights.fill(1 / GATE_SCALE, before)),
    grownBy(biasName(down), [hidden]),
  ];
}
