// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter in f64, one token and one neuron at a time: what the tests of meft_sparse_* compare with. */
import { assertClear, type Call } from "./sparse_check.ts";

type Numbers = ArrayLike<number>;

/** One (token, neuron) pair that fires. */
export interface OraclePair {
  readonly token: number;
  readonly neuron: number;
  readonly dot: number;
  readonly score: number;
}

const at = (array: Numbers, i: number): number => array[i] as number;

function dot(a: Numbers, i: number, b: Numbers, j: number, D: number): number {
  let sum = 0;
  for (let d = 0; d < D; d++) sum += at(a, i * D + d) * at(b, j * D + d);
  return sum;
}

/** out[o] += scale * rows[r]. */
function addRow(out: Float64Array, o: number, scale: number, rows: Numbers, r: number, D: number): void {
  for (let d = 0; d < D; d++) out[o * D + d] = at(out, o * D + d) + scale * at(rows, r * D + d);
}

/** Positions of the `count` largest, ties to the lowest, increasing. */
function largest(values: readonly number[], count: number): number[] {
  const order = [...values.keys()].sort((i, j) => at(values, j) - at(values, i) || i - j);
  if (order.length > count) assertClear(at(values, at(order, count - 1)), at(values, at(order, count)));
  return order.slice(0, count).sort((i, j) => i - j);
}

/** Logits (T,N) and each token's experts. */
export function oracleRoute(call: Call): { logits: number[]; experts: number[][] } {
  const logits = Array.from(
    { length: call.T * call.N },
    (_, i) => dot(call.h, Math.floor(i / call.N), call.gateWeight, i % call.N, call.D),
  );
  const experts = Array.from(
    { length: call.T },
    (_, t) => largest(logits.slice(t * call.N, (t + 1) * call.N), call.active),
  );
  return { logits, experts };
}

/** Gate factors of one token. */
function factorsOf(call: Call, logits: readonly number[], token: number): number[] {
  const g = logits.slice(token * call.N, (token + 1) * call.N);
  if (call.gate === "raw") return g;
  if (call.gate === "none") return g.map(() => 1);
  if (call.gate === "sigmoid") return g.map((x) => 1 / (1 + Math.exp(-x)));
  const top = Math.max(...g);
  const total = g.reduce((sum, x) => sum + Math.exp(x - top), 0);
  return g.map((x) => Math.exp(x - top) / total);
}

/** All pairs that fire, in the order of meft_sparse_forward. */
export function oraclePairs(call: Call): OraclePair[] {
  const { logits, experts } = oracleRoute(call);
  const perExpert = call.R / call.N;
  const factors = Array.from({ length: call.T }, (_, t) => factorsOf(call, logits, t));
  const pairOf = (token: number, neuron: number): OraclePair => {
    const product = dot(call.scored, token, call.keys.seen, neuron, call.D);
    const factor = at(factors[token] as number[], Math.floor(neuron / perExpert));
    return { token, neuron, dot: product, score: factor * product };
  };
  const own = experts.map((chosen, token) => {
    const candidates = chosen.flatMap((e) =>
      Array.from({ length: perExpert }, (_, i) => pairOf(token, e * perExpert + i))
    );
    return largest(candidates.map((p) => p.score), call.K).map((i) => candidates[i] as OraclePair);
  });
  if (call.scope === "token") return own.flat().filter((p) => p.score > 0);
  const union = [...new Set(own.flat().map((p) => p.neuron))].sort((i, j) => i - j);
  return own.flatMap((_, token) => union.map((j) => pairOf(token, j)).filter((p) => p.score > 0));
}

/** y, and the sum of magnitudes behind each element. */
export function oracleValues(call: Call, pairs: readonly OraclePair[]) {
  const y = new Float64Array(call.T * call.D), size = new Float64Array(call.T * call.D);
  const magnitudes = call.values.seen.map(Math.abs);
  for (const p of pairs) {
    addRow(y, p.token, p.score, call.values.seen, p.neuron, call.D);
    addRow(size, p.token, p.score, magnitudes, p.neuron, call.D);
  }
  return { y, size };
}

/** Gradients, all dense. */
export interface OracleGradients {
  readonly dh: Float64Array;
  readonly dgateWeight: Float64Array;
  readonly dkeys: Float64Array;
  readonly dvalues: Float64Array;
}

/**
 * The gradients for pairs that are taken as given. With `magnitudes` every term counts by its size: what rounding errors
 * are relative to.
 */
export function oracleBackward(
  call: Call,
  pairs: readonly OraclePair[],
  dy: Numbers,
  magnitudes = false,
): OracleGradients {
  const { D, N } = call;
  const sized = (x: Numbers): Float64Array => Float64Array.from(x, magnitudes ? Math.abs : (value) => value);
  const [h, keys, values, gateWeight, dout] = [call.h, call.keys.seen, call.values.seen, call.gateWeight, dy]
    .map(sized) as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];
  const { logits } = oracleRoute(call);
  const out = {
    dh: new Float64Array(call.T * D),
    dgateWeight: new Float64Array(N * D),
    dkeys: new Float64Array(call.R * D),
    dvalues: new Float64Array(call.R * D),
  };
  for (let t = 0; t < call.T; t++) {
    const factors = sized(factorsOf(call, logits, t));
    const dfactors = new Float64Array(N);
    for (const p of pairs.filter(({ token }) => token === t)) {
      const expert = Math.floor(p.neuron / (call.R / N));
      const dscore = dot(dout, t, values, p.neuron, D), ddot = at(factors, expert) * dscore;
      const product = magnitudes ? dot(h, t, keys, p.neuron, D) : p.dot;
      dfactors[expert] = at(dfactors, expert) + product * dscore;
      const score = magnitudes ? at(factors, expert) * product : p.score;
      addRow(out.dvalues, p.neuron, score, dout, t, D);
      addRow(out.dkeys, p.neuron, ddot, h, t, D);
      addRow(out.dh, t, ddot, keys, p.neuron, D);
    }
    const mean = factors.reduce((sum, c, e) => sum + c * at(dfactors, e), 0);
    factors.forEach((c, e) => {
      const dc = at(dfactors, e);
      const softmax = c * (magnitudes ? dc + mean : dc - mean);
      const sigmoid = c * (1 - c) * dc;
      const dg = { raw: dc, softmax, sigmoid, none: 0 }[call.gate];
      addRow(out.dh, t, dg, gateWeight, e, D);
      addRow(out.dgateWeight, e, dg, h, t, D);
    });
  }
  return out;
}
