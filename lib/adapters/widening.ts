// SPDX-License-Identifier: Apache-2.0
/**
 * A dense ReLU branch as more neurons of a gated feed-forward: how the parallel adapter becomes part of a model.
 *
 * A gated neuron gives silu(g) u value, with silu(g) = g sigmoid(g). With g = S z, z = h . key, and u held at 1 / S by a
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
import { type Ffn, layersOf, type Linear, linearsOf, partOf, type TensorShape } from "../models/parts.ts";
import { moduleOf, namedParts } from "../models/tensor_names.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, WeightChange } from "./adapter.ts";

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
  if (mayHaveBiases(familyOf(config))) return {};
  const others = [...FAMILIES.values()].filter(mayHaveBiases).map(({ modelType }) => modelType);
  return {
    mergeRefusal: `ReLU(h A) B needs neurons with a bias in the gated feed-forward, ` +
      `and the ${config.modelType} family has none (${others.join(", ")} has)`,
  };
}

/** Whether feed-forwards of a family are gated by silu and may have biases; without one, no neuron can hold u fixed. */
function mayHaveBiases(family: Family): boolean {
  const parts = layersOf(smallestOf(family, WITH_BIASES)).map((layer) => partOf(layer, "ffn"));
  return parts.every((part) =>
    part !== null && part.gated && part.activation === "silu" && part.inputs.length === 2 &&
    linearsOf(part).every(({ bias }) => bias !== null)
  );
}

/** What widening does to the tensors and the configuration of a model. */
export function widening(
  config: ModelConfig,
  layers: readonly KeysAndValues[],
): Required<Pick<AdapterParams, "merge" | "mergedConfig">> {
  const parts = layersOf(namedParts(config)).map((layer) => partOf(layer, "ffn") as Ffn<TensorShape>);
  const [first] = parts;
  const before = first === undefined ? 0 : widthOf(first);
  return {
    mergedConfig: renamed(config, {
      ...(first?.down.bias ? {} : WITH_BIASES),
      intermediate_size: before + (layers[0]?.keys.rows ?? 0),
    }),
    merge: (k) => layers.flatMap((layer, i) => layerChanges(k, layer, parts[i] as Ffn<TensorShape>)),
  };
}

/** Neurons of a feed-forward. */
function widthOf({ down }: Ffn<TensorShape>): number {
  return down.weight.cols;
}

/** Fields of `config.json` as the family calls them. */
function renamed(config: ModelConfig, fields: JsonObject): JsonObject {
  const { fieldNames = {} } = familyOf(config);
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [fieldNames[name] ?? name, value]));
}

/** A matrix as it grows to a shape. */
function grown(
  { weight }: Linear<TensorShape>,
  shape: readonly number[],
  apply: WeightChange["apply"],
): WeightChange {
  return { name: weight.name, shape, apply };
}

/** A bias as it grows, or begins to be. */
function grownBias(
  { weight }: Linear<TensorShape>,
  length: number,
  apply: WeightChange["apply"],
): WeightChange {
  return { name: `${moduleOf(weight.name)}.bias`, shape: [length], apply };
}

function layerChanges(
  k: Kernels,
  { keys, values }: KeysAndValues,
  part: Ffn<TensorShape>,
): WeightChange[] {
  const { rows: neurons, cols: hidden } = keys;
  const [gate, up] = part.inputs as [Linear<TensorShape>, Linear<TensorShape>];
  const { down } = part;
  const before = widthOf(part);
  const wide = before + neurons;
  const unchanged = () => {};
  const withRows = (weight: Weight, write: (rows: Floats) => void) =>
    andThen(k.read(weight.data as Floats), write);
  return [
    grown(
      gate,
      [wide, hidden],
      (weights) => withRows(keys, (read) => weights.set(read.map((x) => x * GATE_SCALE), before * hidden)),
    ),
    grown(up, [wide, hidden], unchanged),
    // Row d holds coordinate d of every value.
    grown(down, [hidden, wide], (weights) =>
      withRows(values, (read) => {
        for (let d = 0; d < hidden; d++) {
          for (let j = 0; j < neurons; j++) {
            weights[d * wide + before + j] = read[j * hidden + d] as number;
          }
        }
      })),
    grownBias(gate, wide, unchanged),
    grownBias(up, wide, (weights) => void weights.fill(1 / GATE_SCALE, before)),
    grownBias(down, hidden, unchanged),
  ];
}
