// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter over libmeft as the host lane is handed it: one call each way. */
import * as calls from "../../native/calls.ts";
import { fromInt64 } from "../../native/scalars.ts";
import type { RowMatrix } from "../../tensor/tensor.ts";
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { RowKernels, RowMoments } from "../kernels/rows.ts";
import { adamwParams } from "./adamw.ts";
import { f32, f32OrNull, planes, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";
import {
  gateArgument,
  inputArgument,
  keptArguments,
  matrixArguments,
  pairArguments,
  routingArguments,
  slopeArguments,
  sparseParams,
} from "./sparse_arguments.ts";

/** Members of {@linkcode RowKernels} that this file gives. */
type BranchKernels = Pick<RowKernels, "sparseBranchForward" | "sparseBranchBackward">;

/** See `meft_sparse_branch_*`. */
export function branchKernels(lanes: Lanes): BranchKernels {
  return { ...forwardKernel(lanes), ...backwardKernel(lanes) };
}

function forwardKernel({ host, compute, times }: Lanes): Pick<BranchKernels, "sparseBranchForward"> {
  return {
    sparseBranchForward(y, call, behind): Awaitable<number> {
      const { routing, pairs, keys, values, shape } = call;
      const neededPairs = new BigInt64Array(1);
      const timesNs = new BigInt64Array(4);
      const done = host.run(
        calls.sparseBranchForward,
        calls.sparseBranchForwardAsync,
        f32OrNull("y", y, shape.tokens * shape.hidden),
        ...routingArguments(routing, shape),
        room("expertTokens", routing.expertTokens, shape.experts),
        new Int32Array(shape.experts),
        ...pairArguments(pairs, shape),
        neededPairs,
        timesNs,
        inputArgument(call),
        gateArgument(call),
        ...rowArguments("keys", keys, behind?.keys ?? null),
        ...rowArguments("values", values, behind?.values ?? null),
        behind && f32("lrHistory", behind.step.lrHistory, behind.step.step),
        sparseParams(shape, compute, pairs.neurons.length),
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
    sparseBranchBackward(call, gradients): Awaitable<void> {
      const { pairs, shape } = call;
      const rowCount = BigInt64Array.of(BigInt(gradients.rowCount));
      const start = performance.now();
      const done = host.run(
        calls.sparseBranchBackward,
        calls.sparseBranchBackwardAsync,
        ...slopeArguments(call),
        f32OrNull("gradients.keys", gradients.keys, gradients.values.length),
        f32("gradients.values", gradients.values, 0),
        room("slots", gradients.slots, shape.neurons),
        room("rows", gradients.rows, shape.neurons),
        rowCount,
        ...keptArguments(call),
        Math.floor(gradients.values.length / shape.hidden),
        gateArgument(call),
        ...matrixArguments(call),
        sparseParams(shape, compute, pairs.neurons.length),
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
