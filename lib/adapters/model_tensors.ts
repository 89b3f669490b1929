// SPDX-License-Identifier: Apache-2.0
/** Trained tensors of the model: as the optimizer sees them, in their shapes in the checkpoint, and how they start. */
import type { Model } from "../models/model.ts";
import { headLayers, headMatrices } from "../models/part_tensors.ts";
import type { Head } from "../models/parts.ts";
import { storedTensor } from "../models/vocabulary.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { writeFloats } from "../ops/model_memory.ts";
import type { DenseParameter } from "../optim/parameters.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";

/** A trained weight as the optimizer sees it: one of one row is a vector. */
export function weightParameter({ name, rows, cols, data, grad }: Weight): DenseParameter {
  if (data === null || data instanceof Uint16Array) {
    throw new RangeError(`Weight "${name}" cannot be trained: it is not held in memory as floats`);
  }
  return { kind: "dense", name, shape: rows === 1 ? [cols] : [rows, cols], data, grad };
}

/** Shape of a tensor in the checkpoint. Of what that lacks, a head's weight is a matrix, though it have one row. */
export function tensorShape(
  { checkpoint, parts: { head } }: Pick<Model, "checkpoint" | "parts">,
  { name, rows, cols }: Pick<Weight, "name" | "rows" | "cols">,
): readonly number[] {
  const stored = checkpoint.tensors.get(name);
  if (stored !== undefined) return stored.shape;
  return rows > 1 || isMatrix(head, name) ? [rows, cols] : [cols];
}

function isMatrix(head: Head, name: string): boolean {
  return headMatrices(head).some((weight) => weight.name === name);
}

function isOfNorm(head: Head, name: string): boolean {
  return headLayers(head).some(({ norm }) => norm?.weight?.name === name);
}

/**
 * The start of a trained tensor: the checkpoint's values; of a head that it lacks, matrices are drawn as transformers draws
 * them, N(0, initializer_range), norms are 1 and biases 0.
 *
 * @param stream Tells the random numbers of tensors apart @mutates weight
 */
export function startTensor(k: Kernels, model: Model, weight: Weight, seed: number, stream: number): void {
  const { name } = weight;
  const data = weight.data as Floats;
  if (!model.fresh.has(name)) {
    const entry = storedTensor(model, name) as TensorEntry;
    return writeFloats(k, data, (floats) => readFloatsInto(floats, entry));
  }
  const { head } = model.parts;
  if (isOfNorm(head, name)) return writeFloats(k, data, (floats) => floats.fill(1));
  if (!isMatrix(head, name)) return k.zero(data);
  writeFloats(k, data, (floats) => k.randomNormal(floats, seed, stream, model.config.initializerRange));
}
