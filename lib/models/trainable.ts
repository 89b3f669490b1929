// SPDX-License-Identifier: Apache-2.0
/** Copies of a model's weights that can be trained, and a model with others in the place of its own. */
import { dropFloats, holdFloats, writeFloats } from "../ops/model_memory.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import { buildParts } from "./families/registry.ts";
import type { Model } from "./model.ts";
import { allTensors, constantTensors } from "./part_tensors.ts";
import { tiedHead, weightsByName } from "./vocabulary.ts";

/** A weight in memory, with its gradient. */
export interface TrainableWeight extends Weight {
  readonly data: Float32Array | Float64Array;
  readonly grad: Floats;
}

/** Copies of weights. Disposing them gives their memory back. */
export interface TrainableWeights extends Disposable {
  /** Each once (a tied head is the embedding), in checkpoint order, by its tensor's name. */
  readonly byName: ReadonlyMap<string, TrainableWeight>;
}

/**
 * Copies of those weights of a model that are chosen by name: where the model works, in the backend's float type, with zero
 * gradients. Of a model without weights they are zeros, and so is what the checkpoint lacks.
 *
 * @param isTrained Given the tensor's name in the checkpoint; all weights when absent
 * @mutates model.kernels.ledger: "parameters" and "gradients" until they are disposed
 */
export function trainableWeights(
  { kernels: k, checkpoint, parts, weightless, fresh }: Model,
  isTrained: (name: string) => boolean = () => true,
): TrainableWeights {
  const byName = new Map<string, TrainableWeight>();
  for (const weight of allTensors(parts)) {
    const { name, rows, cols } = weight;
    if (!isTrained(name)) continue;
    const data = k.modelFloats(rows * cols, "parameters");
    if (weightless !== true && !fresh.has(name)) {
      writeFloats(k, data, (floats) => readFloatsInto(floats, checkpoint.tensors.get(name) as TensorEntry));
    }
    const grad = k.modelFloats(rows * cols, "gradients");
    holdFloats(k, data, "parameters");
    holdFloats(k, grad, "gradients");
    byName.set(name, { ...weight, dtype: k.float, data, mapped: null, grad });
  }
  let open = true;
  return {
    byName,
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      for (const { data, grad } of byName.values()) {
        dropFloats(k, data, "parameters");
        dropFloats(k, grad, "gradients");
      }
    },
  };
}

/**
 * A model that shares all weights with another but those given, by the names of their tensors. A head that was tied to the
 * embedding is so no more where one is given under the name that it would have of its own. Disposing it leaves the model it
 * was made from open.
 */
export function withWeights(model: Model, replace: ReadonlyMap<string, Weight>): Model {
  const constants = constantTensors(model.parts).map((weight) => [weight.name, weight] as const);
  const own = new Map([...weightsByName(model), ...constants]);
  const head = tiedHead(model.config);
  const config = head !== null && replace.has(head)
    ? { ...model.config, tieWordEmbeddings: false }
    : model.config;
  return {
    dir: model.dir,
    config,
    kernels: model.kernels,
    checkpoint: model.checkpoint,
    rope: model.rope,
    fresh: model.fresh,
    ...(model.vocabulary && { vocabulary: model.vocabulary }),
    warnings: model.warnings,
    parts: buildParts(config, (name) => replace.get(name) ?? own.get(name) as Weight),
    [Symbol.dispose]() {},
  };
}
