// SPDX-License-Identifier: Apache-2.0
/** Inputs of one sparse-adapter call, the call on a lane, and the equations in f64, for the tests of meft_sparse_*. */
import assert from "node:assert/strict";
import { bf16ToFloat, floatToBf16 } from "../../lib/core/half.ts";
import { nextUniform, randomStream } from "../../lib/core/rng.ts";
import {
  planesSplit,
  sparseBackward,
  sparseForward,
  sparseRoute,
  sparseTouch,
} from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { type SparseParams, writeSparseParams } from "../../lib/native/structs.ts";
import { guarded, misaligned, normals } from "./kernel_check.ts";

export const GATES = ["raw", "softmax", "sigmoid", "none"] as const;
export type Gate = typeof GATES[number];
export const SCOPES = ["token", "union"] as const;
export const F32 = 0, BF16 = 1;

/** Sizes and modes, in the words of meft.h. */
export interface Sizes {
  readonly gate: Gate;
  readonly scope: typeof SCOPES[number];
  readonly compute: number;
  readonly T: number;
  readonly D: number;
  readonly R: number;
  readonly N: number;
  readonly active: number;
  readonly K: number;
}

/** A small call with odd sizes; override what the test is about. */
export const BASE: Sizes = {
  gate: "raw",
  scope: "token",
  compute: F32,
  T: 7,
  D: 37,
  R: 24,
  N: 4,
  active: 2,
  K: 3,
};

/** Sizes at the edges: of vectors, of the blocks of tokens (192), neurons (256) and columns (512 and 1024). */
export const SIZES: readonly Partial<Sizes>[] = [
  {},
  { T: 0 },
  { T: 1, D: 1, R: 1, N: 1, active: 1, K: 1 },
  { N: 1, active: 1, K: 24 },
  { K: 100, active: 3 },
  { active: 4, K: 5 },
  { N: 24, active: 5, K: 2 },
  { T: 230, D: 9, R: 21, N: 3, active: 1, K: 4 },
  { T: 17, D: 16, R: 300, N: 1, active: 1, K: 70 },
  { T: 18, D: 33, R: 1040, N: 2, active: 1, K: 17 },
  { T: 20, D: 1100, R: 40, N: 5, active: 2, K: 6 },
];

/** Rows as split planes, and what the call's compute type sees of them. */
export interface Planes {
  readonly hi: Uint16Array;
  readonly lo: Int16Array;
  readonly seen: Float64Array;
}

/** One call. */
export interface Call extends Sizes {
  readonly h: Float32Array<ArrayBuffer>;
  /** h as the scores see it: rounded to bf16 when that is the compute type. */
  readonly scored: Float64Array;
  readonly gateWeight: Float32Array;
  readonly keys: Planes;
  readonly values: Planes;
}

/** Multiples of 1/4 from -2 to 2: every sum of products is exact in f32 and bf16 products, and ties abound. */
function coarse(count: number, stream: number): Float32Array<ArrayBuffer> {
  const random = randomStream(99, stream);
  return misaligned(Float32Array.from({ length: count }, () => Math.floor(nextUniform(random) * 17 - 8) / 4));
}

function planesOf(x: Float32Array, compute: number): Planes {
  using lane = new NativeContext({ target: "portable", threads: 1 });
  const hi = new Uint16Array(x.length), lo = new Int16Array(x.length);
  planesSplit(lane, hi, lo, x, x.length);
  return {
    hi,
    lo,
    seen: Float64Array.from(x, (value, i) => compute === F32 ? value : bf16ToFloat(hi[i] as number)),
  };
}

/** A call with coarse inputs (exact, full of ties), or with normal ones. */
export function makeCall(sizes: Sizes, inputs: "coarse" | "normal"): Call {
  const { T, D, R, N, compute } = sizes;
  const make = inputs === "coarse" ? coarse : normals;
  const h = make(T * D, 1);
  return {
    ...sizes,
    h,
    scored: Float64Array.from(h, (x) => compute === F32 ? x : bf16ToFloat(floatToBf16(x))),
    gateWeight: make(N * D, 2),
    keys: planesOf(make(R * D, 3), compute),
    values: planesOf(normals(R * D, 4), compute),
  };
}

function paramsOf(call: Sizes, pairCapacity: number): Uint8Array<ArrayBuffer> {
  const params: SparseParams = {
    gate: GATES.indexOf(call.gate),
    scope: SCOPES.indexOf(call.scope),
    compute: call.compute,
    tokens: call.T,
    hidden: call.D,
    neurons: call.R,
    experts: call.N,
    activeExperts: call.active,
    topK: call.K,
    pairCapacity,
  };
  return writeSparseParams(params);
}

/** Integers in the memory of a guarded float array, so that its sentinels watch them. */
export function guardedInts(count: number): { floats: Float32Array<ArrayBuffer>; ints: Int32Array } {
  const floats = guarded(count);
  return { floats, ints: new Int32Array(floats.buffer, floats.byteOffset, count) };
}

/** Router logits and experts of a call. */
export function route(lane: NativeContext, call: Call) {
  const logits = guarded(call.T * call.N);
  const experts = guardedInts(call.T * call.active), load = guardedInts(call.N);
  sparseRoute(lane, logits, experts.ints, load.ints, call.h, call.gateWeight, paramsOf(call, 0));
  return {
    logits,
    experts: experts.ints,
    load: load.ints,
    guards: { experts: experts.floats, load: load.floats },
  };
}

/** Forward with as much room as asked for; `needed` may exceed it. */
export function forward(
  lane: NativeContext,
  call: Call,
  routing: { readonly logits: Float32Array; readonly experts: Int32Array },
  room: number,
) {
  const y = guarded(call.T * call.D), dots = guarded(room), scores = guarded(room);
  const offsets = guardedInts(call.T + 1), neurons = guardedInts(room);
  const needed = new BigInt64Array(1);
  sparseForward(
    lane,
    y,
    offsets.ints,
    neurons.ints,
    dots,
    scores,
    needed,
    call.h,
    routing.logits,
    routing.experts,
    call.keys.hi,
    call.compute === F32 ? call.keys.lo : null,
    call.values.hi,
    call.compute === F32 ? call.values.lo : null,
    paramsOf(call, room),
  );
  const guards = { offsets: offsets.floats, neurons: neurons.floats };
  return { y, dots, scores, offsets: offsets.ints, neurons: neurons.ints, needed: Number(needed[0]), guards };
}

/** Row gradients of a whole accumulation. */
export class Gradients {
  readonly slots: Int32Array;
  readonly rows: Int32Array;
  readonly rowCount = new BigInt64Array(1);
  readonly dkeys: Float32Array<ArrayBuffer>;
  readonly dvalues: Float32Array<ArrayBuffer>;

  constructor(call: Sizes) {
    this.slots = new Int32Array(call.R).fill(-1);
    this.rows = new Int32Array(call.R);
    this.dkeys = guarded(call.R * call.D);
    this.dvalues = guarded(call.R * call.D);
  }

  /** Touches, then adds one call's gradients. Returns dh and dW_g, which begin at what `start` says. */
  add(
    lane: NativeContext,
    call: Call,
    routing: { readonly logits: Float32Array; readonly experts: Int32Array },
    pairs: {
      offsets: Int32Array;
      neurons: Int32Array;
      dots: Float32Array;
      scores: Float32Array;
      needed: number;
    },
    dy: Float32Array,
    options: { readonly start?: number; readonly frozenKeys?: boolean; readonly frozenRouter?: boolean } = {},
  ) {
    const dh = guarded(call.T * call.D).fill(options.start ?? 0);
    const dgateWeight = guarded(call.N * call.D).fill(options.start ?? 0);
    const firstNew = Number(this.rowCount[0]);
    sparseTouch(lane, this.slots, this.rows, this.rowCount, pairs.neurons, pairs.needed, call.R);
    sparseBackward(
      lane,
      dh,
      options.frozenRouter || call.gate === "none" ? null : dgateWeight,
      options.frozenKeys ? null : this.dkeys,
      this.dvalues,
      dy,
      call.h,
      routing.logits,
      routing.experts,
      pairs.offsets,
      pairs.neurons,
      pairs.dots,
      pairs.scores,
      this.slots,
      firstNew,
      call.gate === "none" ? null : call.gateWeight,
      call.keys.hi,
      call.keys.lo,
      call.values.hi,
      call.values.lo,
      paramsOf(call, pairs.needed),
    );
    return { dh, dgateWeight };
  }
}

/** Every neuron's row of a compact gradient, zeros where it has none. */
export function scatter(gradients: Gradients, rows: Float32Array, call: Sizes): Float64Array {
  const all = new Float64Array(call.R * call.D);
  for (let slot = 0; slot < Number(gradients.rowCount[0]); slot++) {
    all.set(rows.subarray(slot * call.D, (slot + 1) * call.D), (gradients.rows[slot] as number) * call.D);
  }
  return all;
}

/** Checks that the score at which an oracle cuts is no near-tie, which f32 might order otherwise. */
export function assertClear(kept: number, dropped: number): void {
  if (kept === dropped) return; // a true tie: decided by index
  assert.ok(kept - dropped > 1e-4 * Math.abs(kept), `ambiguous inputs: ${kept} and ${dropped}`);
}
