// SPDX-License-Identifier: Apache-2.0
/** A head on whole sequences: one token's hidden state stands for each, and gives logits of classes, or a value. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { ClassTargets, ValueTargets } from "../../data/batch.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type ClassificationHead, type Linear, outputsOf, type Pooling } from "../parts.ts";
import type { HeadInput, HeadKindOf } from "./head_call.ts";

/** See {@linkcode ClassificationHead}. */
export const classificationHead: HeadKindOf<ClassificationHead> = {
  loss(k, head, { hidden, batch }, targets, scale) {
    if (targets.kind !== head.gives) {
      throw new RangeError(`The head gives ${head.gives}, the targets are ${targets.kind}`);
    }
    const seen = pool(k, head, { hidden, batch });
    const y = meanOutput(k, seen);
    return andThen(compare(k, y, targets, scale ?? 0), (lossSum) => {
      const count = batch.starts.length - 1;
      if (scale === null) return { lossSum, count, dhidden: null };
      if (seen.length > 1) k.scale(y.data, 1 / seen.length);
      const dhidden = arenaTensor(k, hidden.shape);
      k.zero(dhidden.data);
      for (const { rows, pooled, output: { weight, bias } } of seen) {
        scatter(k, linearBackward(k, pooled, weight, y, { bias }), rows, dhidden);
      }
      return { lossSum, count, dhidden };
    });
  },
  outputs: (k, head, input) => meanOutput(k, pool(k, head, input)),
};

/** What a product of the head sees. */
interface PooledRows {
  readonly output: Linear;
  /** (S) */
  readonly rows: Int32Array;
  /** (S,D) */
  readonly pooled: Tensor;
}

/** What each product of a head sees: the token that stands for a sequence, and the one behind it. */
function pool(k: Kernels, head: ClassificationHead, { hidden, batch }: HeadInput): readonly PooledRows[] {
  const first = pooledRows(head.pooling, batch);
  return outputsOf(head).map((output, i) => {
    const rows = first.map((row) => row + i);
    return { output, rows, pooled: gather(k, hidden, rows) };
  });
}

/** (S,C) in the arena. */
function meanOutput(k: Kernels, [first, ...others]: readonly PooledRows[]): Tensor {
  const { pooled, output: { weight, bias } } = first as PooledRows;
  const y = linearForward(k, pooled, weight, { bias });
  for (const { pooled, output: { weight, bias } } of others) {
    linearForward(k, pooled, weight, { bias, addTo: y });
  }
  if (others.length > 0) k.scale(y.data, 1 / (1 + others.length));
  return y;
}

/** (S) the row that stands for each sequence. With `last` as transformers has it: the last token that is not padding, else the first. */
export function pooledRows(pooling: Pooling, { ids, starts }: HeadInput["batch"]): Int32Array {
  const rows = starts.slice(0, -1);
  if (pooling.kind === "first") return rows;
  rows.forEach((start, s) => {
    let row = (starts[s + 1] as number) - 1;
    while (row > start && ids[row] === pooling.padId) row--;
    rows[s] = row;
  });
  return rows;
}

/** Rows of hidden (M,D), as (S,D) in the arena. */
function gather(k: Kernels, { shape: [, width = 0], data }: Tensor, rows: Int32Array): Tensor {
  const pooled = arenaTensor(k, [rows.length, width]);
  rows.forEach((row, s) =>
    k.copy(pooled.data.subarray(s * width, (s + 1) * width), data.subarray(row * width, (row + 1) * width))
  );
  return pooled;
}

/** Puts the gradient (S,D) of what `gather` gave where that was, which is zero. @mutates dhidden */
function scatter(k: Kernels, { data }: Tensor, rows: Int32Array, dhidden: Tensor): void {
  const width = dhidden.shape[1] ?? 0;
  rows.forEach((row, s) =>
    k.copy(
      dhidden.data.subarray(row * width, (row + 1) * width),
      data.subarray(s * width, (s + 1) * width),
    )
  );
}

/** The loss, summed in f64; y becomes its gradient unless the scale is 0. @mutates y */
function compare(
  k: Kernels,
  y: Tensor,
  targets: ClassTargets | ValueTargets,
  scale: number,
): Awaitable<number> {
  return targets.kind === "classes" ? crossEntropy(k, y, targets, scale) : squaredError(k, y, targets, scale);
}

/** -log softmax(y)[class]. */
function crossEntropy(k: Kernels, y: Tensor, { labels }: ClassTargets, scale: number): Awaitable<number> {
  const losses = k.arenaFloats(labels.length);
  k.crossEntropy(losses, y.data, labels, y.shape[1] ?? 0, scale);
  return andThen(k.read(losses), (read) => {
    let lossSum = 0;
    for (const loss of read) lossSum += loss;
    return lossSum;
  });
}

/** (y - value)^2; its gradient is 2 (y - value). */
function squaredError(k: Kernels, y: Tensor, { values }: ValueTargets, scale: number): Awaitable<number> {
  return andThen(k.read(y.data), (given) => {
    const errors = values.map((value, s) => (given[s] as number) - value);
    if (scale !== 0) {
      const dy = k.floats(errors.length);
      dy.set(errors.map((error) => 2 * scale * error));
      k.copy(y.data, dy);
    }
    return errors.reduce((sum, error) => sum + error * error, 0);
  });
}
