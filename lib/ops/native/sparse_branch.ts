// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter over libmeft as the host lane is handed it: one call each way. */
import * as calls from "../../native/calls.ts";
import { fromInt64 } from "../../native/scalars.ts";
import type { RowMatrix } from "../../tensor/tensor.ts";
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { Kernels, RowMoments } from "../kernels.ts";
import { adamwParams } from "./adamw.ts";
import { f32, f32OrNull, planes, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";
import { checkedRouting, sparseParams } from "./sparse.ts";

/** Members of {@linkcode Kernels} that this file gives. */
export type BranchKernels = Pick<Kernels, "sparseBranchForward" | "sparseBranchBackward">;

/** See `meft_sparse_branch_*`. */
export function branchKernels(lanes: Lanes): BranchKernels {
  return { ...forwardKernel(lanes), ...backwardKernel(lanes) };
}

function forwardKernel({ host, compute, times }: Lanes): Pick<BranchKernels, "sparseBranchForward"> {
  return {
    sparseBranchForward(
      y,
      routing,
      pairs,
      h,
      gateWeight,
      keys,
      values,
      behind,
      shape,
    ): Awaitable<number> {
      const { logits, experts } = checkedRouting(routing, shape);
      const capacity = pairs.neurons.length;
      const neededPairs = new BigInt64Array(1);
      const timesNs = new BigInt64Array(4);
      const done = host.run(
        calls.sparseBranchForward,
        calls.sparseBranchForwardAsync,
        f32OrNull("y", y, shape.tokens * shape.hidden),
        logits,
        experts,
        room("expertTokens", routing.expertTokens, shape.experts),
        new Int32Array(shape.experts),
        room("offsets", pairs.offsets, shape.tokens + 1),
        pairs.neurons,
        f32("dots", pairs.dots, capacity),
        f32("scores", pairs.scores, capacity),
        neededPairs,
        timesNs,
        f32("h", h, shape.tokens * shape.hidden),
        f32("gateWeight", gateWeight, shape.experts * shape.hidden),
        ...rowArguments("keys", keys, behind?.keys ?? null),
        ...rowArguments("values", values, behind?.values ?? null),
        behind && f32("lrHistory", behind.step.lrHistory, behind.step.step),
        sparseParams(shape, compute, capacity),
        behind && adamwParams(behind.step, "lazy-exact"),
      );
      return andThen(done, () => {
        const [routingMs, catchUpMs, scoringMs, valuesMs] = Array.from(timesNs, (ns) => Number(ns) / 1e6);
        times.routing += routingMs as number;
        times.catchUp += catchUpMs as number;
        times.scoring += scoringMs as number;
        times.values += valuesMs as number;
        return fromInt64("neededPairs", neededPairs[0] as bigint);
      });
    },
  };
}

function backwardKernel({ host, compute, times }: Lanes): Pick<BranchKernels, "sparseBranchBackward"> {
  return {
    sparseBranchBackward(
      dh,
      dgateWeight,
      gradients,
      dy,
      h,
      routing,
      pairs,
      gateWeight,
      keys,
      values,
      shape,
    ): Awaitable<void> {
      const { logits, experts } = checkedRouting(routing, shape);
      const capacity = pairs.neurons.length;
      const rowCount = BigInt64Array.of(BigInt(gradients.rowCount));
      const start = performance.now();
      const done = host.run(
        calls.sparseBranchBackward,
        calls.sparseBranchBackwardAsync,
        f32("dh", dh, shape.tokens * shape.hidden),
        f32OrNull("dgateWeight", dgateWeight, shape.experts * shape.hidden),
        f32OrNull("gradients.keys", gradients.keys, gradients.values.length),
        f32("gradients.values", gradients.values, 0),
        room("slots", gradients.slots, shape.neurons),
        room("rows", gradients.rows, shape.neurons),
        rowCount,
        f32("dy", dy, shape.tokens * shape.hidden),
        f32("h", h, shape.tokens * shape.hidden),
        logits,
        experts,
        room("offsets", pairs.offsets, shape.tokens + 1),
        pairs.neurons,
        f32("dots", pairs.dots, capacity),
        f32("scores", pairs.scores, capacity),
        Math.floor(gradients.values.length / shape.hidden),
        f32("gateWeight", gateWeight, shape.experts * shape.hidden),
        planes("keys", keys).hi,
        keys.lo,
        planes("values", values).hi,
        values.lo,
        sparseParams(shape, compute, capacity),
      );
      return andThen(done, () => {
        gradients.rowCount = fromInt64("rowCount", rowCount[0] as bigint);
        times.backward += performance.now() - start;
      });
    },
  };
}

/** Planes of a matrix and, where its rows may lag behind, their optimizer state. */
function rowArguments(
  name: string,
  matrix: RowMatrix,
  moments: RowMoments | null,
): [Uint16Array, Int16Array, Float32Array | null, Float32Array | null, Int32Array | null] {
  const { hi, lo } = planes(name, matrix);
  if (moments === null) return [hi, lo, null, null, null];
  const count = matrix.rows * matrix.cols;
  return [
    hi,
    lo,
    f32("m", moments.m, count),
    f32("v", moments.v, count),
    room("lastStep", moments.lastStep, matrix.rows),
  ];
}
