// SPDX-License-Identifier: Apache-2.0
/** Attention over the sequences of a micro-batch, with memory linear in their length. */
import { assertShape } from "../core/shape.ts";
import type { Activation, Tensor } from "../tensor/tensor.ts";
import { arenaLike, arenaTensor } from "./arena_tensor.ts";
import type { AttentionShape, ModelKernels, Sees } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** What a query may see. */
export interface AttentionOptions {
  /**
   * (S,4) int32 {queryBegin, queryEnd, keyBegin, keyEnd}: nothing crosses a span; see {@linkcode selfSpans} and
   * {@linkcode crossSpans}.
   */
  readonly spans: Int32Array;
  readonly sees: Sees;
  /** How far it sees, {@linkcode AttentionShape}; 0, no limit, when absent. */
  readonly window?: number;
  /** Of q.k; 1/sqrt(Dh) when absent. */
  readonly scale?: number;
  /** Scores are softcap * tanh(scale * q.k / softcap); 0, not capped, when absent. */
  readonly softcap?: number;
}

/** What {@linkcode attentionBackward} needs. */
export interface AttentionResiduals<A extends Activation = Activation> {
  readonly q: A;
  readonly k: A;
  readonly v: A;
  readonly o: A;
  /** (Tq,H) log of the sum of exp of the scores. */
  readonly lse: Tensor;
}

/** Spans of sequences that attend to themselves: sequence s is rows [starts[s], starts[s+1]). */
export function selfSpans(starts: Int32Array): Int32Array {
  return crossSpans(starts, starts);
}

/**
 * Spans of sequences that attend to others: queries [queryStarts[s], queryStarts[s+1]) to keys [keyStarts[s],
 * keyStarts[s+1]).
 *
 * @throws {RangeError} When there are not as many of one as of the other
 */
export function crossSpans(queryStarts: Int32Array, keyStarts: Int32Array): Int32Array {
  if (queryStarts.length !== keyStarts.length) {
    throw new RangeError(
      `keyStarts has ${keyStarts.length} elements, expected the ${queryStarts.length} of queryStarts`,
    );
  }
  const count = Math.max(0, queryStarts.length - 1);
  const spans = new Int32Array(4 * count);
  for (let s = 0; s < count; s++) {
    spans.set(queryStarts.subarray(s, s + 2), 4 * s);
    spans.set(keyStarts.subarray(s, s + 2), 4 * s + 2);
  }
  return spans;
}

/**
 * Grouped-query attention: o = softmax(s) v within each span, with s = scale * q k^T, or softcap * tanh(that / softcap).
 * The last query of a span sits at its last key: query i at key i + (keys - queries). It sees keys up to there (`past`)
 * or of the whole span (`all`), within the window. Head h of q reads head floor(h * Hkv / H) of k and v.
 *
 * @param q (Tq,H,Dh)     @param keys (Tk,Hkv,Dh)     @param v (Tk,Hkv,Dh), all of the backend's type for activations
 * @returns o (Tq,H,Dh) of it too, zero for rows in no span or in one without keys, in the arena. Backward keeps q, k, v, o and lse (Tq,H)
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
 * Attention, backward. With p = exp(s - lse) and delta = sum(do * o) over a head:
 * dv = p^T do,  ds = p * (do v^T - delta) * scale,  dq = ds k,  dk = ds^T q; capped, ds is times 1 - (s / softcap)^2 too.
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
  const { sees, window = 0, scale = 1 / Math.sqrt(headDim), softcap = 0 } = options;
  return { queryRows, keyRows, heads, kvHeads, headDim, sees, window, scale, softcap };
}
