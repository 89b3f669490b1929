// SPDX-License-Identifier: Apache-2.0
/** Checks a batch before any of it is used. */
import { assertInteger, assertLength } from "../../core/shape.ts";
import type { Batch } from "../../data/batch.ts";

/** What a pass reads of a batch, or of a part of one: it counts targets itself. */
export type TokenBatch = Omit<Batch, "targetCount">;

/**
 * @throws {RangeError} When lengths disagree, sequences do not follow one another, or an id or target is outside the
 *   vocabulary
 */
export function checkBatch(batch: TokenBatch, vocabSize: number): void {
  const { ids, positions, starts, targets } = batch;
  assertLength("positions of the batch", positions, ids.length);
  assertLength("targets of the batch", targets, ids.length);
  if (
    starts[0] !== 0 || starts.at(-1) !== ids.length ||
    starts.some((start, s) => s > 0 && start < (starts[s - 1] ?? 0))
  ) {
    throw new RangeError(
      `starts of the batch are [${starts}], expected a rise from 0 to its ${ids.length} tokens`,
    );
  }
  assertAll("id", ids, 0, vocabSize - 1);
  assertAll("target", targets, -1, vocabSize - 1);
  assertAll("position", positions, 0, 2 ** 31 - 1);
}

function assertAll(name: string, values: Int32Array, min: number, max: number): void {
  const bad = values.findIndex((value) => value < min || value > max);
  if (bad >= 0) assertInteger(`${name} of token ${bad}`, values[bad] as number, min, max);
}
