// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter over libmeft, on the host lane. */
import * as calls from "../../native/calls.ts";
import { fromInt64 } from "../../native/scalars.ts";
import { writeSparseParams } from "../../native/structs.ts";
import * as constants from "../../native/symbols.ts";
import type { Awaitable, Kernels, SparseRouting, SparseShape } from "../kernels.ts";
import { f32, f32OrNull, planes, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";

/** Members of {@linkcode Kernels} that this file gives. */
export type SparseKernels = Pick<Kernels, "sparseRoute" | "sparseForward" | "sparseTouch" | "sparseBackward">;

const GATES = {
  raw: constants.MEFT_GATE_RAW,
  softmax: constants.MEFT_GATE_SOFTMAX,
  sigmoid: constants.MEFT_GATE_SIGMOID,
  none: constants.MEFT_GATE_NONE,
} as const;
const SCOPES = { token: constants.MEFT_SCOPE_TOKEN, union: constants.MEFT_SCOPE_UNION } as const;

/** See `meft_sparse_*`. */
export function sparseKernels(lanes: Lanes): SparseKernels {
  return { ...forwardKernels(lanes), ...backwardKernels(lanes) };
}

function forwardKernels({ host, compute }: Lanes): Pick<SparseKernels, "sparseRoute" | "sparseForward"> {
  return {
    sparseRoute(routing, h, gateWeight, shape): Awaitable<void> {
      const { logits, experts } = checkedRouting(routing, shape);
      return host.run(
        calls.sparseRoute,
        calls.sparseRouteAsync,
        logits,
        experts,
        room("expertTokens", routing.expertTokens, shape.experts),
        f32("h", h, shape.tokens * shape.hidden),
        f32("gateWeight", gateWeight, shape.experts * shape.hidden),
        sparseParams(shape, compute, 0),
      );
    },

    sparseForward(y, pairs, h, routing, keys, values, shape): Awaitable<number> {
      const { logits, experts } = checkedRouting(routing, shape);
      const capacity = pairs.neurons.length;
      const neededPairs = new BigInt64Array(1);
      const done = host.run(
        calls.sparseForward,
        calls.sparseForwardAsync,
        f32("y", y, shape.tokens * shape.hidden),
        room("offsets", pairs.offsets, shape.tokens + 1),
        pairs.neurons,
        f32("dots", pairs.dots, capacity),
        f32("scores", pairs.scores, capacity),
        neededPairs,
        f32("h", h, shape.tokens * shape.hidden),
        logits,
        experts,
        planes("keys", keys).hi,
        keys.lo,
        planes("values", values).hi,
        values.lo,
        sparseParams(shape, compute, capacity),
      );
      const needed = (): number => fromInt64("neededPairs", neededPairs[0] as bigint);
      return done instanceof Promise ? done.then(needed) : needed();
    },
  };
}

function backwardKernels(
  { inline, host, compute }: Lanes,
): Pick<SparseKernels, "sparseTouch" | "sparseBackward"> {
  return {
    sparseTouch(gradients, neurons, pairCount): void {
      const { slots, rows } = gradients;
      const rowCount = BigInt64Array.of(BigInt(gradients.rowCount));
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
      gradients.rowCount = fromInt64("rowCount", rowCount[0] as bigint);
    },

    sparseBackward(
      dh,
      dgateWeight,
      gradients,
      firstNewSlot,
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
      const gradientCount = gradients.rowCount * shape.hidden;
      return host.run(
        calls.sparseBackward,
        calls.sparseBackwardAsync,
        f32("dh", dh, shape.tokens * shape.hidden),
        f32OrNull("dgateWeight", dgateWeight, shape.experts * shape.hidden),
        f32OrNull("gradients.keys", gradients.keys, gradientCount),
        f32("gradients.values", gradients.values, gradientCount),
        f32("dy", dy, shape.tokens * shape.hidden),
        f32("h", h, shape.tokens * shape.hidden),
        logits,
        experts,
        room("offsets", pairs.offsets, shape.tokens + 1),
        pairs.neurons,
        f32("dots", pairs.dots, capacity),
        f32("scores", pairs.scores, capacity),
        room("slots", gradients.slots, shape.neurons),
        firstNewSlot,
        f32("gateWeight", gateWeight, shape.experts * shape.hidden),
        planes("keys", keys).hi,
        keys.lo,
        planes("values", values).hi,
        values.lo,
        sparseParams(shape, compute, capacity),
      );
    },
  };
}

/** Arrays of a routing that fit a shape. @throws {RangeError} When they are too short */
export function checkedRouting(
  routing: SparseRouting,
  shape: SparseShape,
): { readonly logits: Float32Array; readonly experts: Int32Array } {
  return {
    logits: f32("logits", routing.logits, shape.tokens * shape.experts),
    experts: room("experts", routing.experts, shape.tokens * shape.activeExperts),
  };
}

/** A new record for each call: one on a nonblocking lane is still read while the next is written. */
export function sparseParams(
  shape: SparseShape,
  compute: number,
  pairCapacity: number,
): Uint8Array<ArrayBuffer> {
  return writeSparseParams({
    ...shape,
    gate: GATES[shape.gate],
    scope: SCOPES[shape.scope],
    compute,
    pairCapacity,
  });
}
