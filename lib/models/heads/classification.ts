// SPDX-License-Identifier: Apache-2.0
/** A head on whole sequences: what stands for each gives logits of classes, or a value. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { ClassTargets, ValueTargets } from "../../data/batch.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { outputsOf } from "../part_tensors.ts";
import type { ClassificationHead, Linear } from "../parts.ts";
import type { HeadInput, HeadKindOf } from "./head_call.ts";
import {
  type HeadLayerResiduals,
  headLayersBackward,
  headLayersForward,
  headProduct,
  headProductBackward,
} from "./head_layers.ts";
import { hookedForward } from "../sublayers/linear.ts";
import { pool, poolBackward } from "./pooling.ts";

/** See {@linkcode ClassificationHead}. */
export const classificationHead: HeadKindOf<ClassificationHead> = {
  loss(k, head, input, targets, scale) {
    if (targets.kind !== head.gives) {
      throw new RangeError(`The head gives ${head.gives}, the targets are ${targets.kind}`);
    }
    const seen = seenBy(k, head, input);
    const y = meanOutput(k, input, seen);
    return andThen(compare(k, y, targets, scale ?? 0), (lossSum) => {
      const count = input.batch.starts.length - 1;
      if (scale === null) return { lossSum, count, dhidden: null };
      if (seen.length > 1) k.scale(y.data, 1 / seen.length);
      const dhidden = arenaTensor(k, input.hidden.shape);
      k.zero(dhidden.data);
      for (const [i, { h, residuals, output }] of seen.entries()) {
        const dpooled = headLayersBackward(
          k,
          input,
          head.layers,
          residuals,
          headProductBackward(k, input, output, h, y),
        );
        poolBackward(k, head.pooling, input.batch, i, dpooled, dhidden);
      }
      return { lossSum, count, dhidden };
    });
  },
  outputs: (k, head, input) => meanOutput(k, input, seenBy(k, head, input)),
};

/** What a product of the head sees. */
interface Seen {
  readonly output: Linear;
  /** (S,D) */
  readonly h: Tensor;
  readonly residuals: readonly HeadLayerResiduals[];
}

/** What each product of a head sees, through its layers: what stands for a sequence, and the token behind that. */
function seenBy(k: Kernels, head: ClassificationHead, input: HeadInput): readonly Seen[] {
  return outputsOf(head).map((output, i) => {
    const { y: h, residuals } = headLayersForward(k, input, head.layers, pool(k, head.pooling, input, i));
    return { output, h, residuals };
  });
}

/** (S,C) in the arena. */
function meanOutput(k: Kernels, { hooks, layer }: HeadInput, [first, ...others]: readonly Seen[]): Tensor {
  const { h, output } = first as Seen;
  const y = headProduct(k, { hooks, layer }, output, h);
  for (const { h, output } of others) hookedForward({ k, hooks }, layer, output, h, { addTo: y });
  if (others.length > 0) k.scale(y.data, 1 / (1 + others.length));
  return y;
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
