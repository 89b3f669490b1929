// SPDX-License-Identifier: Apache-2.0
/** Random tokens for a step: every token but the last of a sequence has the next as its target. */
import { nextIntegerBelow, randomStream } from "../../../lib/core/rng.ts";
import type { MicroBatch, StepData } from "../../../lib/data/batches.ts";
import { tokenTargets } from "../../../lib/data/batch.ts";

/** A step of micro-batches of one sequence each. */
export function randomStep(
  { tokens, accumulation }: { readonly tokens: number; readonly accumulation: number },
  vocabulary: number,
  seed: number,
): StepData {
  const microBatches = Array.from(
    { length: accumulation },
    (_, i) => randomSequence(tokens, vocabulary, seed, i),
  );
  return {
    microBatches,
    targetCount: accumulation * (tokens - 1),
    tokenCount: accumulation * tokens,
    next: { epoch: 0, row: 0 },
  };
}

function randomSequence(tokens: number, vocabulary: number, seed: number, stream: number): MicroBatch {
  const random = randomStream(seed, stream);
  const ids = Int32Array.from({ length: tokens }, () => nextIntegerBelow(random, vocabulary));
  const targets = ids.map((_, t) => ids[t + 1] ?? -1);
  return {
    batch: {
      ids,
      positions: Int32Array.from({ length: tokens }, (_, t) => t),
      starts: Int32Array.of(0, tokens),
      targets: tokenTargets(targets),
      targetCount: tokens - 1,
    },
    examples: new Int32Array(0),
  };
}
