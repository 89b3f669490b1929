// SPDX-License-Identifier: Apache-2.0
/** A head on whole sequences: one token's hidden state stands for each, and gives logits of classes, or a value. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { ClassTargets, ValueTargets } from "../../data/batch.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { ClassificationHead, Pooling } from "../parts.ts";
import type { HeadInput, HeadKindOf } from "./head_call.ts";

/** See {@linkcode ClassificationHead}. */
export const classificationHead: HeadKindOf<ClassificationHead> = {
  loss(k, head, { hidden, batch }, targets, scale) {
    if (targets.kind !== head.gives) {
      throw new RangeError(`The head gives ${head.gives}, the targets are ${targets.kind}`);
    }
    const rows = pooledRows(head.pooling, batch);
    const pooled = gather(k, hidden, rows);
    const { weight, bias } = head.output;
    const y = linearForward(k, pooled, weight, { bias });
    return andThen(compare(k, y, targets, scale ?? 0), (lossSum) => {
      const count = rows.length;
      if (scale === null) return { lossSum, count, dhidden: null };
      const dpooled = linearBackward(k, pooled, weight, y, { bias });
      return { lossSum, count, dhidden: scatter(k, dpooled, rows, hidden) };
    });
  },
  outputs(k, { pooling, output: { weight, bias } }, { hidden, batch }) {
    return linearForward(k, gather(k, hidden, pooledRows(pooling, batch)), weight, { bias });
  },
};

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

/** The gradient (M,D) of what `gather` was given: zero in all other rows. */
function scatter(k: Kernels, { data }: Tensor, rows: Int32Array, { shape }: Tensor): Tensor {
  const [, width = 0] = shape;
  const dhidden = arenaTensor(k, shape);
  k.zero(dhidden.data);
  rows.forEach((row, s) =>
    k.copy(dhidden.data.subarray(row * width, (row + 1) * width), data.subarray(s * width, (s + 1) * width))
  );
  return dhidden;
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
