// SPDX-License-Identifier: Apache-2.0
/** What batches are compared with: tokens that come next, that are hidden or that are written, or labels. */
import { type Batch, type BatchSource, tokenTargets } from "./batch.ts";
import type { Dataset, ExampleLabels, ExampleSources } from "./dataset.ts";
import { type MaskDraw, maskExample, type Masking } from "./masking.ts";
import { shiftedRight } from "./shift_right.ts";

/** Targets where tokens are asked for. @mutates seen (M): some are masked */
export function maskedTokens(
  { offsets, ids, lossMask }: Dataset,
  masking: Masking,
  examples: Int32Array,
  starts: Int32Array,
  draw: MaskDraw,
  seen: Int32Array,
): Pick<Batch, "targets" | "targetCount"> {
  const targets = new Int32Array(seen.length).fill(-1);
  examples.forEach((example, s) => {
    const [from, to] = [offsets[example] as number, offsets[example + 1] as number];
    const masked = maskExample(masking, draw, example, ids.subarray(from, to), lossMask.subarray(from, to));
    seen.set(masked.ids, starts[s]);
    targets.set(masked.targets, starts[s]);
  });
  return { targets: tokenTargets(targets), targetCount: targets.filter((target) => target >= 0).length };
}

/** Each target is that of the token before it, which predicts it. */
export function nextTokens(
  { offsets, lossMask, ids }: Dataset,
  examples: Int32Array,
  starts: Int32Array,
): Pick<Batch, "targets" | "targetCount"> {
  const targets = new Int32Array(starts.at(-1) ?? 0).fill(-1);
  let targetCount = 0;
  examples.forEach((example, s) => {
    const [from, start] = [offsets[example] as number, starts[s] as number];
    const length = (starts[s + 1] as number) - start;
    for (let i = 1; i < length; i++) {
      if (lossMask[from + i] === 0) continue;
      targets[start + i - 1] = ids[from + i] as number;
      targetCount++;
    }
  });
  return { targets: tokenTargets(targets), targetCount };
}

export function labelTargets(
  labels: ExampleLabels,
  examples: Int32Array,
): Pick<Batch, "targets" | "targetCount"> {
  const targetCount = examples.length;
  if (labels.kind === "classes") {
    return {
      targets: { kind: "classes", labels: Int32Array.from(examples, (i) => labels.of[i] as number) },
      targetCount,
    };
  }
  return {
    targets: { kind: "values", values: Float64Array.from(examples, (i) => labels.of[i] as number) },
    targetCount,
  };
}

/** What decoders write, each token behind the one before it, with what their encoders read. */
export function writtenBatch(
  { ids, offsets, shiftedIn }: ExampleSources,
  written: BatchSource,
  examples: Int32Array,
): Batch {
  const starts = new Int32Array(examples.length + 1);
  examples.forEach((example, s) => {
    starts[s + 1] = (starts[s] as number) + (offsets[example + 1] as number) - (offsets[example] as number);
  });
  const read = new Int32Array(starts.at(-1) ?? 0);
  const positions = new Int32Array(read.length);
  examples.forEach((example, s) => {
    const [start, end] = [starts[s] as number, starts[s + 1] as number];
    read.set(ids.subarray(offsets[example], offsets[example + 1]), start);
    for (let at = start; at < end; at++) positions[at] = at - start;
  });
  return {
    ...written,
    ids: shiftedRight(written.ids, written.starts, shiftedIn),
    source: { ids: read, positions, starts },
    targets: tokenTargets(written.ids),
    targetCount: written.ids.length,
  };
}
