// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter over libmeft, on the host lane. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import * as calls from "../../native/calls.ts";
import { fromInt64 } from "../../native/scalars.ts";
import type { RowKernels } from "../kernels/rows.ts";
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
type SparseKernels = Pick<
  RowKernels,
  "sparseRoute" | "sparseForward" | "sparseTouch" | "sparseBackward" | "sparseValues" | "sparseForwardAmong"
>;

/** See `meft_sparse_*`. */
export function sparseKernels(lanes: Lanes): SparseKernels {
  return { ...forwardKernels(lanes), ...againKernels(lanes), ...backwardKernels(lanes) };
}

function forwardKernels({ host, compute }: Lanes): Pick<SparseKernels, "sparseRoute" | "sparseForward"> {
  return {
    sparseRoute(call): Awaitable<void> {
      const { routing, shape } = call;
      return host.run(
        calls.sparseRoute,
        calls.sparseRouteAsync,
        ...routingArguments(routing, shape),
        room("expertTokens", routing.expertTokens, shape.experts),
        inputArgument(call),
        gateArgument(call),
        sparseParams(shape, compute, 0),
      );
    },

    sparseForward(y, call): Awaitable<number> {
      const { pairs, routing, shape } = call;
      const neededPairs = new BigInt64Array(1);
      const done = host.run(
        calls.sparseForward,
        calls.sparseForwardAsync,
        f32("y", y, shape.tokens * shape.hidden),
        ...pairArguments(pairs, shape),
        neededPairs,
        inputArgument(call),
        ...routingArguments(routing, shape),
        ...matrixArguments(call),
        sparseParams(shape, compute, pairs.neurons.length),
      );
      return andThen(done, () => fromInt64("neededPairs", neededPairs[0] as bigint));
    },
  };
}

/** Forward where something was chosen before. */
function againKernels(
  { host, compute, times }: Lanes,
): Pick<SparseKernels, "sparseValues" | "sparseForwardAmong"> {
  return {
    sparseValues(y, { pairs, values, shape }): Awaitable<void> {
      const [offsets, neurons, , scores] = pairArguments(pairs, shape);
      const start = performance.now();
      const done = host.run(
        calls.sparseValues,
        calls.sparseValuesAsync,
        f32("y", y, shape.tokens * shape.hidden),
        offsets,
        neurons,
        scores,
        planes("values", values).hi,
        values.lo,
        sparseParams(shape, compute, neurons.length),
      );
      return andThen(done, () => void (times.values += performance.now() - start));
    },

    sparseForwardAmong(y, call, united): Awaitable<number> {
      const { pairs, routing, shape } = call;
      const neededPairs = new BigInt64Array(1);
      const start = performance.now();
      const done = host.run(
        calls.sparseForwardAmong,
        calls.sparseForwardAmongAsync,
        f32OrNull("y", y, shape.tokens * shape.hidden),
        routingArguments(routing, shape)[0],
        ...pairArguments(pairs, shape),
        neededPairs,
        inputArgument(call),
        gateArgument(call),
        united,
        united.length,
        ...matrixArguments(call),
        sparseParams(shape, compute, pairs.neurons.length),
      );
      return andThen(done, () => {
        times.scoring += performance.now() - start;
        return fromInt64("neededPairs", neededPairs[0] as bigint);
      });
    },
  };
}

function backwardKernels(
  { inline, host, compute }: Lanes,
): Pick<SparseKernels, "sparseTouch" | "sparseBackward"> {
  return {
    sparseTouch(touched, neurons, pairCount): void {
      const { slots, rows } = touched;
      const rowCount = BigInt64Array.of(BigInt(touched.rowCount));
      room("neurons", neurons, pairCount);
      calls.sparseTouch(
        inline,
        slots,
        room("rows", rows, slots.length),
        rowCount,
        neurons,
        pairCount,
        slots.length,
      );
      touched.rowCount = fromInt64("rowCount", rowCount[0] as bigint);
    },

    sparseBackward(call, gradients, firstNewSlot): Awaitable<void> {
      const { pairs, shape } = call;
      const gradientCount = gradients.rowCount * shape.hidden;
      return host.run(
        calls.sparseBackward,
        calls.sparseBackwardAsync,
        ...slopeArguments(call),
        f32OrNull("gradients.keys", gradients.keys, gradientCount),
        f32("gradients.values", gradients.values, gradientCount),
        ...keptArguments(call),
        room("slots", gradients.slots, shape.neurons),
        firstNewSlot,
        gateArgument(call),
        ...matrixArguments(call),
        sparseParams(shape, compute, pairs.neurons.length),
      );
    },
  };
}
