// SPDX-License-Identifier: Apache-2.0
/** Causal attention over the sequences of a micro-batch, with memory linear in their length. */
import { assertShape } from "../core/shape.ts";
import type { Activation, Tensor } from "../tensor/tensor.ts";
import { arenaLike, arenaTensor } from "./arena_tensor.ts";
import type { AttentionShape } from "./kernels/model.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** What a query may see. */
export interface AttentionOptions {
  /** (S,4) int32 {queryBegin, queryEnd, keyBegin, keyEnd}: nothing crosses a span; see {@linkcode causalSpans}. */
  readonly spans: Int32Array;
  /** Keys a query sees at most, itself included; 0 for no limit. */
  readonly window?: number;
  /** Of q.k; 1/sqrt(Dh) when absent. */
  readonly scale?: number;
}

/** What {@linkcode attentionBackward} needs. */
export interface AttentionResiduals<A extends Activation = Activation> {
  readonly q: A;
  readonly k: A;
  readonly v: A;
  readonly o: A;
  /** (Tq,H) log of the sum of exp(scale * q.k). */
  readonly lse: Tensor;
}

/** Spans of sequences that attend to themselves: sequence s is rows [starts[s], starts[s+1]). */
export function causalSpans(starts: Int32Array): Int32Array {
  const count = Math.max(0, starts.length - 1);
  const spans = new Int32Array(4 * count);
  for (let s = 0; s < count; s++) {
    const [begin, end] = [starts[s] as number, starts[s + 1] as number];
    spans.set([begin, end, begin, end], 4 * s);
  }
  return spans;
}

/**
 * Causal grouped-query attention: o = softmax(scale * q k^T) v within each span. The last query of a span sits at its
 * last key. Head h of q reads head floor(h * Hkv / H) of k and v.
 *
 * @param q (Tq,H,Dh)     @param keys (Tk,Hkv,Dh)     @param v (Tk,Hkv,Dh), all of the backend's type for activations
 * @returns o (Tq,H,Dh) of it too, zero for rows in no span, in the arena. Backward keeps q, k, v, o and lse (Tq,H)
 *   float.
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function attentionForward<A extends Activation>(
  k: ModelKernels & Place,
  q: A,
  keys: A,
  v: A,
  options: AttentionOptions,
): { y: A; residuals: AttentionResiduals<A> } {
  const shape = attentionShape(q, keys, v, options);
  const o = arenaLike(k, q);
  const lse = arenaTensor(k, [shape.queryRows, shape.heads]);
  k.attentionForward(o.data, lse.data, q.data, keys.data, v.data, options.spans, shape);
  return { y: o, residuals: { q, k: keys, v, o, lse } };
}

/**
 * Attention, backward. With p = exp(scale * q.k - lse) and delta = sum(do * o) over a head:
 * dv = p^T do,  ds = p * (do v^T - delta) * scale,  dq = ds k,  dk = ds^T q.
 *
 * @param dO (Tq,H,Dh) of q's type, read
 * @returns dq (Tq,H,Dh), dk and dv (Tk,Hkv,Dh) of q's type, in the arena; zero where no span reaches
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function attentionBackward<A extends Activation>(
  k: ModelKernels & Place,
  residuals: AttentionResiduals<A>,
  dO: A,
  options: AttentionOptions,
): { dq: A; dk: A; dv: A } {
  const { q, k: keys, v, o, lse } = residuals;
  const shape = attentionShape(q, keys, v, options);
  assertShape("dO of attention", dO.shape, q.shape, "Tq,H,Dh");
  assertShape("o of attention", o.shape, q.shape, "Tq,H,Dh");
  assertShape("lse of attention", lse.shape, [shape.queryRows, shape.heads], "Tq,H");
  const dq = arenaLike(k, q);
  const dk = arenaLike(k, keys);
  const dv = arenaLike(k, v);
  k.attentionBackward(
    dq.data,
    dk.data,
    dv.data,
    dO.data,
    q.data,
    keys.data,
    v.data,
    o.data,
    lse.data,
    options.spans,
    shape,
  );
  return { dq, dk, dv };
}

function attentionShape(
  q: Activation,
  keys: Activation,
  v: Activation,
  options: AttentionOptions,
): AttentionShape {
  const [queryRows = 0, heads = 0, headDim = 0] = q.shape;
  const [keyRows = 0, kvHeads = 0] = keys.shape;
  assertShape("q of attention", q.shape, [queryRows, heads, headDim], "Tq,H,Dh");
  assertShape("k of attention", keys.shape, [keyRows, kvHeads, headDim], "Tk,Hkv,Dh");
  assertShape("v of attention", v.shape, keys.shape, "Tk,Hkv,Dh");
  if (options.spans.length % 4 !== 0) {
    throw new RangeError(`spans of attention has ${options.spans.length} elements, expected four a span`);
  }
  if (kvHeads === 0 ? heads !== 0 : heads % kvHeads !== 0) {
    throw new RangeError(`q of attention has ${heads} heads, expected a multiple of the ${kvHeads} of k`);
  }
  const scale = options.scale ?? 1 / Math.sqrt(headDim);
  return { queryRows, keyRows, heads, kvHeads, headDim, window: options.window ?? 0, scale };
}
