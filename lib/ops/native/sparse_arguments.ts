// SPDX-License-Identifier: Apache-2.0
/** A call of the sparse adapter as C takes it: arrays that are long enough for its sizes, and a record of these. */
import { writeSparseParams } from "../../native/structs.ts";
import * as constants from "../../native/symbols.ts";
import type {
  SparseBackwardCall,
  SparseCall,
  SparsePairs,
  SparseRouting,
  SparseShape,
} from "../kernels/rows.ts";
import { f32, f32OrNull, planes, room } from "./arguments.ts";

const GATES = {
  raw: constants.MEFT_GATE_RAW,
  softmax: constants.MEFT_GATE_SOFTMAX,
  sigmoid: constants.MEFT_GATE_SIGMOID,
  none: constants.MEFT_GATE_NONE,
} as const;
const SCOPES = { token: constants.MEFT_SCOPE_TOKEN, union: constants.MEFT_SCOPE_UNION } as const;

/** Logits (T,N), experts (T,k_e). @throws {RangeError} When they are too short */
export function routingArguments(routing: SparseRouting, shape: SparseShape): [Float32Array, Int32Array] {
  return [
    f32("logits", routing.logits, shape.tokens * shape.experts),
    room("experts", routing.experts, shape.tokens * shape.activeExperts),
  ];
}

/** h (T,D). */
export function inputArgument({ h, shape }: Pick<SparseCall, "h" | "shape">): Float32Array {
  return f32("h", h, shape.tokens * shape.hidden);
}

/** W_g (N,D). */
export function gateArgument({ gateWeight, shape }: Pick<SparseCall, "gateWeight" | "shape">): Float32Array {
  return f32("gateWeight", gateWeight, shape.experts * shape.hidden);
}

/** Offsets, neurons, dots, scores. */
export function pairArguments(
  pairs: SparsePairs,
  shape: SparseShape,
): [Int32Array, Int32Array, Float32Array, Float32Array] {
  const capacity = pairs.neurons.length;
  return [
    room("offsets", pairs.offsets, shape.tokens + 1),
    pairs.neurons,
    f32("dots", pairs.dots, capacity),
    f32("scores", pairs.scores, capacity),
  ];
}

/** Planes of keys and values. */
export function matrixArguments(
  { keys, values }: Pick<SparseCall, "keys" | "values">,
): [Uint16Array, Int16Array, Uint16Array, Int16Array] {
  return [planes("keys", keys).hi, keys.lo, planes("values", values).hi, values.lo];
}

/** dh, dgateWeight. */
export function slopeArguments(
  { dh, dgateWeight, shape }: Pick<SparseBackwardCall, "dh" | "dgateWeight" | "shape">,
): [Float32Array, Float32Array | null] {
  return [
    f32("dh", dh, shape.tokens * shape.hidden),
    f32OrNull("dgateWeight", dgateWeight, shape.experts * shape.hidden),
  ];
}

/** dy, h, logits, experts, offsets, neurons, dots, scores: what each backward kernel reads of its call. */
export function keptArguments(
  call: SparseBackwardCall,
): [
  ...[dy: Float32Array, h: Float32Array],
  ...ReturnType<typeof routingArguments>,
  ...ReturnType<typeof pairArguments>,
] {
  const { dy, routing, pairs, shape } = call;
  return [
    f32("dy", dy, shape.tokens * shape.hidden),
    inputArgument(call),
    ...routingArguments(routing, shape),
    ...pairArguments(pairs, shape),
  ];
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
