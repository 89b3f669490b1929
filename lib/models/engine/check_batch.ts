// SPDX-License-Identifier: Apache-2.0
/** Checks a batch before any of it is used. */
import { assertInteger, assertLength } from "../../core/shape.ts";
import type { Batch, BatchSource } from "../../data/batch.ts";
import { shiftedRight } from "../../data/shift_right.ts";
import type { Model } from "../model.ts";
import { headTensors } from "../part_tensors.ts";
import type { Head } from "../parts.ts";

/** What a pass reads of a batch, or of a part of one: it counts targets itself. */
export type TokenBatch = Omit<Batch, "targetCount">;

/**
 * A batch that suits the model, with what an encoder beside a decoder reads. A head on whole sequences is given one text: then
 * encoder and decoder read the same, the decoder's shifted right, as transformers has it.
 *
 * @throws {RangeError} When lengths disagree, sequences do not follow one another, or an id or target is outside the
 *   vocabulary or the labels; when there is no source where the model reads one, or one where it does not
 */
export function checkedBatch<B extends TokenBatch>(model: Model, given: B): B {
  const { config: { vocabSize }, parts: { head, stacks } } = model;
  checkTokens("the batch", given);
  if (given.pictures === undefined) {
    if (vocabSize === 0) throw new RangeError("The model takes pictures, the batch has none");
    assertAll("id of token", given.ids, 0, vocabSize - 1);
  }
  checkTargets(given.targets, head, given.ids.length, given.starts.length - 1);
  const batch = stacks.length > 1 ? withSource(model, given) : given;
  checkSource(batch, vocabSize, stacks.length > 1);
  return batch;
}

function withSource<B extends TokenBatch>({ config: { decoderIds }, parts: { head } }: Model, batch: B): B {
  const { ids, positions, starts, source } = batch;
  if (source !== undefined || head.kind !== "classification" || decoderIds === undefined) return batch;
  return {
    ...batch,
    ids: shiftedRight(ids, starts, decoderIds.shiftedIn),
    source: { ids, positions, starts },
  };
}

function checkSource({ source, starts }: TokenBatch, vocabSize: number, isRead: boolean): void {
  if (source === undefined) {
    if (!isRead) return;
    throw new RangeError("The model reads a source with its encoder, the batch has none");
  }
  if (!isRead) {
    throw new RangeError("The batch has a source, the model no encoder beside its decoder to read it");
  }
  checkTokens("the source", source);
  assertLength("starts of the source", source.starts, starts.length);
  assertAll("id of source token", source.ids, 0, vocabSize - 1);
  const empty = starts.findIndex((start, s) =>
    (starts[s + 1] ?? start) > start && source.starts[s] === source.starts[s + 1]
  );
  if (empty >= 0) throw new RangeError(`The source of sequence ${empty} has no tokens`);
}

function checkTokens(of: string, { ids, positions, starts }: BatchSource): void {
  assertLength(`positions of ${of}`, positions, ids.length);
  if (
    starts[0] !== 0 || starts.at(-1) !== ids.length ||
    starts.some((start, s) => s > 0 && start < (starts[s - 1] ?? 0))
  ) {
    throw new RangeError(
      `starts of ${of} are [${starts}], expected a rise from 0 to its ${ids.length} tokens`,
    );
  }
  assertAll("position of token", positions, 0, 2 ** 31 - 1);
}

function checkTargets(targets: Batch["targets"], head: Head, tokens: number, sequences: number): void {
  const outputs = headTensors(head)[0]?.rows ?? 0;
  if (targets.kind === "tokens") {
    assertLength("targets of the batch", targets.ids, tokens);
    assertAll("target of token", targets.ids, -1, outputs - 1);
  } else if (targets.kind === "classes") {
    assertLength("labels of the batch", targets.labels, sequences);
    assertAll("label of sequence", targets.labels, 0, outputs - 1);
  } else assertLength("values of the batch", targets.values, sequences);
}

function assertAll(name: string, values: Int32Array, min: number, max: number): void {
  const bad = values.findIndex((value) => value < min || value > max);
  if (bad >= 0) assertInteger(`${name} ${bad}`, values[bad] as number, min, max);
}
