// SPDX-License-Identifier: Apache-2.0
/** Checks a batch before any of it is used. */
import { assertInteger, assertLength } from "../../core/shape.ts";
import type { Batch } from "../../data/batch.ts";
import { type Head, headTensors } from "../parts.ts";

/** What a pass reads of a batch, or of a part of one: it counts targets itself. */
export type TokenBatch = Omit<Batch, "targetCount">;

/**
 * @throws {RangeError} When lengths disagree, sequences do not follow one another, or an id or target is outside the
 *   vocabulary or the labels
 */
export function checkBatch(batch: TokenBatch, vocabSize: number, head: Head): void {
  const { ids, positions, starts, targets } = batch;
  assertLength("positions of the batch", positions, ids.length);
  if (
    starts[0] !== 0 || starts.at(-1) !== ids.length ||
    starts.some((start, s) => s > 0 && start < (starts[s - 1] ?? 0))
  ) {
    throw new RangeError(
      `starts of the batch are [${starts}], expected a rise from 0 to its ${ids.length} tokens`,
    );
  }
  if (batch.pictures === undefined) {
    if (vocabSize === 0) throw new RangeError("The model takes pictures, the batch has none");
    assertAll("id of token", ids, 0, vocabSize - 1);
  }
  checkTargets(targets, head, ids.length, starts.length - 1);
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
