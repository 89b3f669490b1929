// SPDX-License-Identifier: Apache-2.0
/** Copies of a model's weights that can be trained: full fine-tuning. */
import { dropFloats, holdFloats, writeFloats } from "../ops/model_memory.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import { buildParts } from "./families/registry.ts";
import type { Model } from "./model.ts";
import { allTensors } from "./parts.ts";

/** A weight in memory, with its gradient. */
export interface TrainableWeight extends Weight {
  readonly data: Float32Array | Float64Array;
  readonly grad: Floats;
}

/** A model of which some weights are trained. Disposing it leaves the model it was made from open. */
export interface TrainableModel extends Model {
  /** Each trained weight once (a tied head is the embedding), in checkpoint order. */
  readonly trainable: readonly TrainableWeight[];
}

/**
 * A model that shares all frozen weights with `model` and has copies of those chosen by name: where the model works, in
 * the backend's float type, with zero gradients. Of a model without weights they are zeros.
 *
 * @param isTrained Given the tensor's name in the checkpoint; all weights when absent
 * @mutates model.kernels.ledger: "parameters" and "gradients" until the copy is disposed
 */
export function trainableModel(
  model: Model,
  isTrained: (name: string) => boolean = () => true,
): TrainableModel {
  const { kernels: k, checkpoint, config } = model;
  const trainable: TrainableWeight[] = [];
  const frozen = new Map<string, Weight>();
  for (const weight of allTensors(model.parts)) frozen.set(weight.name, weight);
  const parts = buildParts(config, (name): Weight => {
    const weight = frozen.get(name) as Weight;
    if (!isTrained(name)) return weight;
    const count = weight.rows * weight.cols;
    const data = k.modelFloats(count, "parameters");
    if (model.weightless !== true) {
      writeFloats(k, data, (floats) => readFloatsInto(floats, checkpoint.tensors.get(name) as TensorEntry));
    }
    const grad = k.modelFloats(count, "gradients");
    const copy: TrainableWeight = { ...weight, dtype: k.float, data, mapped: null, grad };
    holdFloats(k, data, "parameters");
    holdFloats(k, grad, "gradients");
    trainable.push(copy);
    return copy;
  });
  let open = true;
  return {
    dir: model.dir,
    config: model.config,
    kernels: k,
    checkpoint,
    rope: model.rope,
    warnings: model.warnings,
    parts,
    trainable,
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      for (const { data, grad } of trainable) {
        dropFloats(k, data, "parameters");
        dropFloats(k, grad, "gradients");
      }
    },
  };
}
