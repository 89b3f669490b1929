// SPDX-License-Identifier: Apache-2.0
/**
 * A dense ReLU branch as more neurons of a gated feed-forward half: how the parallel adapter becomes part of a model.
 *
 * A gated neuron gives silu(g) u value, with silu(g) = g sigmoid(g). With g = S z, z = h . key, and u held at 1 / S by a
 * bias, that is z sigmoid(S z) value: ReLU(z) value but for |z| below about 20 / S, where it is off by at most 0.28 / S.
 * S is a power of two, so that scaling a key rounds nothing, and so large (2^60) that the difference is far below the
 * rounding of any float: z = 1 in f32 is off by 6e-8 anyway, this by 2.4e-19. S z stays finite in f32 and bf16 up to
 * |z| = 2^67; f16 has no room for S. Gradients of the new `up` biases are scaled by S: the result is for inference.
 */
import type { LayerWeights, ModelConfig } from "../models/model.ts";
import { buildWeights } from "../models/weights.ts";
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

/** The one family whose feed-forward half may have biases; without one, no neuron can hold u fixed. */
const WITH_BIASES = "llama";

/** Why a model cannot be widened; nothing when it can. */
export function wideningRefusal({ modelType }: ModelConfig): Pick<Adapter, "mergeRefusal"> {
  if (modelType === WITH_BIASES) return {};
  return {
    mergeRefusal: `ReLU(h A) B needs neurons with a bias in the gated feed-forward half, ` +
      `and the ${modelType} family has none (${WITH_BIASES} has)`,
  };
}

/** What widening does to the tensors and the configuration of a model. */
export function widening(
  config: ModelConfig,
  layers: readonly KeysAndValues[],
): Required<Pick<AdapterParams, "merge" | "mergedConfig">> {
  const neurons = layers[0]?.keys.rows ?? 0;
  const wide = { ...config, mlpBias: true, intermediateSize: config.intermediateSize + neurons };
  const shapes = buildWeights(
    wide,
    (name, rows, cols) => ({ name, shape: rows === null ? [cols] : [rows, cols] }),
  );
  return {
    mergedConfig: { mlp_bias: true, intermediate_size: wide.intermediateSize },
    merge: (k) =>
      layers.flatMap((layer, i) => layerChanges(k, config, layer, shapes.layers[i] as FfnTensors)),
  };
}

type FfnTensors = Readonly<
  Record<keyof LayerWeights, Pick<WeightChange, "name"> & { readonly shape: number[] }>
>;

function layerChanges(
  k: Kernels,
  { hiddenSize, intermediateSize }: ModelConfig,
  { keys, values }: KeysAndValues,
  tensors: FfnTensors,
): WeightChange[] {
  const { rows: neurons } = keys;
  const wide = intermediateSize + neurons;
  const unchanged = () => {};
  const rows = (weight: Weight) => k.read(weight.data as Floats);
  return [
    {
      ...tensors.gate,
      apply: (weights) => weights.set(rows(keys).map((x) => x * GATE_SCALE), intermediateSize * hiddenSize),
    },
    { ...tensors.up, apply: unchanged },
    {
      ...tensors.down,
      // Row d holds coordinate d of every value.
      apply: (weights) => {
        const read = rows(values);
        for (let d = 0; d < hiddenSize; d++) {
          for (let j = 0; j < neurons; j++) {
            weights[d * wide + intermediateSize + j] = read[j * hiddenSize + d] as number;
          }
        }
      },
    },
    { ...tensors.gateBias, apply: unchanged },
    { ...tensors.upBias, apply: (weights) => weights.fill(1 / GATE_SCALE, intermediateSize) },
    { ...tensors.downBias, apply: unchanged },
  ];
}
