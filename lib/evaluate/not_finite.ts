// SPDX-License-Identifier: Apache-2.0
/** Where numbers that are none come from: the checkpoint, the adapter, or the computation. */
import type { AdapterParams } from "../adapters/adapter.ts";
import { parameterSources } from "../adapters/finite.ts";
import { NotFiniteError } from "../core/errors.ts";
import type { Model } from "../models/model.ts";
import { IGNORABLE_TENSORS } from "../models/match_checkpoint.ts";
import { type FiniteSearch, floatEntry, searchFinite, type TensorValue } from "../tensor/finite.ts";

/**
 * One sentence that names the first value of the checkpoint, or else of the adapter, that is not finite; or says that all
 * are, and what helps.
 */
export async function explainNotFinite(model: Model, adapter: AdapterParams | null): Promise<string> {
  const weights = await searchWeights(model);
  if (weights.broken) return `${describeBroken(weights.broken)}; fetch or save the checkpoint again`;
  const trained = adapter && await searchFinite(parameterSources(model.kernels, adapter));
  if (trained?.broken) {
    return `${
      describeBroken(trained.broken)
    }, the checkpoint is finite: train it with a lower rate or a clip`;
  }
  return describeOverflow(model, weights, trained);
}

/**
 * Does the work; when it meets a number that is none, the error says where that comes from.
 *
 * @throws {NotFiniteError} With the explanation
 */
export async function explained<T>(
  model: Model,
  adapter: AdapterParams | null,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await withExplanation(error, model, adapter);
  }
}

/** As {@linkcode explained}, for work that gives its results one by one. */
export async function* explainedAll<T>(
  model: Model,
  adapter: AdapterParams | null,
  work: AsyncIterable<T>,
): AsyncGenerator<T> {
  try {
    yield* work;
  } catch (error) {
    throw await withExplanation(error, model, adapter);
  }
}

async function withExplanation(
  error: unknown,
  model: Model,
  adapter: AdapterParams | null,
): Promise<unknown> {
  if (!(error instanceof NotFiniteError)) return error;
  return new NotFiniteError(`${error.message}. ${await explainNotFinite(model, adapter)}`, { cause: error });
}

/** Searches the tensors of a checkpoint's files in their order, without what no model reads. */
export function searchWeights({ checkpoint }: Model): Promise<FiniteSearch> {
  const entries = [...checkpoint.tensors.values()].filter(({ name }) => !IGNORABLE_TENSORS.test(name));
  const files = new Map(checkpoint.files.map(({ path }, i) => [path, i]));
  const fileOf = (path: string) => files.get(path) ?? files.size;
  entries.sort((a, b) => fileOf(a.path) - fileOf(b.path) || a.offsetBytes - b.offsetBytes);
  return searchFinite(entries.map(floatEntry).filter((source) => source !== null));
}

function describeBroken({ tensor, file, index, value }: TensorValue): string {
  return `Tensor "${tensor}" of ${file} holds ${value} at [${index.join(", ")}]`;
}

function describeOverflow(
  { kernels: { compute } }: Model,
  weights: FiniteSearch,
  trained: FiniteSearch | null,
): string {
  const all = [weights, ...(trained ? [trained] : [])];
  const what = `All ${weights.tensors} tensors of the checkpoint${
    trained ? " and of the adapter" : ""
  } are finite`;
  const largest = all.map((search) => search.largest).filter((value) => value !== null)
    .reduce<TensorValue | null>(
      (most, value) => most && Math.abs(most.value) >= Math.abs(value.value) ? most : value,
      null,
    );
  const extreme = largest &&
    ` (the largest value is ${largest.value} in "${largest.tensor}" of ${largest.file})`;
  const remedy = compute === "bf16"
    ? "compute with --dtype f32"
    : "such weights are too large for f32: look at where they come from";
  return `${what}${extreme ?? ""}, so the computation overflowed: ${remedy}`;
}
