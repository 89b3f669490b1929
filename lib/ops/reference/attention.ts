// SPDX-License-Identifier: Apache-2.0
/** Attention and cross-entropy of the reference backend, in f64: every probability is written out. */
import type { Floats } from "../../tensor/tensor.ts";
import type { AttentionShape, ModelKernels } from "../kernels/model.ts";
import { reachOf } from "../reach.ts";
import { addScaled, at, dot } from "./linear.ts";

/** log of the sum of exp, without overflow. -Infinity for none. */
export function logSumExp(values: readonly number[]): number {
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (largest === -Infinity) return -Infinity;
  return largest + Math.log(values.reduce((sum, x) => sum + Math.exp(x - largest), 0));
}

/** Calls `visit` for every query that sees a key and every head, with the keys [from, to) it sees and their head. */
function forEachQuery(
  spans: Int32Array,
  shape: AttentionShape,
  visit: (query: number, head: number, kvHead: number, from: number, to: number) => void,
): void {
  const queriesPerKey = shape.heads / shape.kvHeads;
  const { behind, ahead } = reachOf(shape);
  for (let s = 0; s < spans.length; s += 4) {
    const [queryBegin, queryEnd, keyBegin, keyEnd] = spans.subarray(s, s + 4) as unknown as [
      number,
      number,
      number,
      number,
    ];
    for (let query = queryBegin; query < queryEnd; query++) {
      const place = keyEnd - (queryEnd - query); // the last query of a span sits at its last key
      const from = Math.max(keyBegin, place - behind), to = Math.min(keyEnd, place + 1 + ahead);
      if (from >= to) continue;
      for (let head = 0; head < shape.heads; head++) {
        visit(query, head, Math.floor(head / queriesPerKey), from, to);
      }
    }
  }
}

/** Places of a query's and a key's vector. */
function offsets(shape: AttentionShape, query: number, head: number, kvHead: number) {
  const q = (query * shape.heads + head) * shape.headDim;
  const key = (row: number) => (row * shape.kvHeads + kvHead) * shape.headDim;
  return { q, key };
}

/** The score of a query and a key, and its derivative by their product. */
function scoreOf({ scale, softcap }: AttentionShape, product: number): { score: number; slope: number } {
  if (softcap === 0) return { score: scale * product, slope: scale };
  const capped = Math.tanh(scale * product / softcap);
  return { score: softcap * capped, slope: scale * (1 - capped * capped) };
}

function attentionForward(
  o: Floats,
  lse: Floats,
  q: Floats,
  k: Floats,
  v: Floats,
  spans: Int32Array,
  shape: AttentionShape,
): void {
  const { headDim } = shape;
  o.fill(0);
  lse.fill(0);
  forEachQuery(spans, shape, (query, head, kvHead, from, to) => {
    const place = offsets(shape, query, head, kvHead);
    const scores: number[] = [];
    for (let row = from; row < to; row++) {
      scores.push(scoreOf(shape, dot(q, place.q, k, place.key(row), headDim)).score);
    }
    const total = logSumExp(scores);
    lse[query * shape.heads + head] = total;
    scores.forEach((score, i) =>
      addScaled(o, place.q, Math.exp(score - total), v, place.key(from + i), headDim)
    );
  });
}

function attentionBackward(
  dq: Floats,
  dk: Floats,
  dv: Floats,
  dO: Floats,
  q: Floats,
  k: Floats,
  v: Floats,
  o: Floats,
  lse: Floats,
  spans: Int32Array,
  shape: AttentionShape,
): void {
  const { headDim } = shape;
  for (const gradient of [dq, dk, dv]) gradient.fill(0);
  forEachQuery(spans, shape, (query, head, kvHead, from, to) => {
    const place = offsets(shape, query, head, kvHead);
    const total = at(lse, query * shape.heads + head);
    const delta = dot(dO, place.q, o, place.q, headDim);
    for (let row = from; row < to; row++) {
      const key = place.key(row);
      const { score, slope } = scoreOf(shape, dot(q, place.q, k, key, headDim));
      const p = Math.exp(score - total);
      const ds = p * (dot(dO, place.q, v, key, headDim) - delta) * slope;
      addScaled(dv, key, p, dO, place.q, headDim);
      addScaled(dq, place.q, ds, k, key, headDim);
      addScaled(dk, key, ds, q, place.q, headDim);
    }
  });
}

function crossEntropy(
  loss: Floats,
  logits: Floats,
  targets: Int32Array,
  vocabulary: number,
  scale: number,
  softcap = 0,
): void {
  targets.forEach((target, t) => {
    if (target >= vocabulary) {
      throw new RangeError(`targets[${t}] is ${target}, expected below ${vocabulary}`);
    }
    const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
    const capped = softcap > 0
      ? Float64Array.from(row, (x) => softcap * Math.tanh(x / softcap))
      : row.slice();
    const total = logSumExp([...capped]);
    loss[t] = target < 0 ? 0 : total - at(capped, target);
    if (scale === 0) return;
    capped.forEach((z, i) => {
      const slope = softcap > 0 ? 1 - (z / softcap) ** 2 : 1;
      row[i] = target < 0 ? 0 : scale * (Math.exp(z - total) - (i === target ? 1 : 0)) * slope;
    });
  });
}

/** See `meft_attention_*` and `meft_cross_entropy`. */
export const attentionKernels: Pick<ModelKernels, "attentionForward" | "attentionBackward" | "crossEntropy"> =
  {
    attentionForward,
    attentionBackward,
    crossEntropy,
  };
