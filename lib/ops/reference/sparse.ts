// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter of the reference backend, forward, in f64: the equations of `lib/ops/sparse.ts`, token by token. */
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import type { RowKernels, SparseCall, SparseRouting, SparseShape, TouchedRows } from "../kernels/rows.ts";
import { logSumExp } from "./attention.ts";
import { sigmoid } from "./activation.ts";
import { addScaled, at, dot } from "./linear.ts";

/** The matrix of a {@linkcode RowMatrix} that the reference backend made. */
export function fullRows(matrix: RowMatrix): Float64Array {
  if (matrix.full === null) {
    throw new TypeError("The reference backend reads row matrices that it made itself");
  }
  return matrix.full;
}

/** The `count` largest of `values` by position: ties to the lowest position, NaN last; positions increasing. */
function topPositions(values: readonly number[], count: number): number[] {
  const order = values.map((_, i) => i);
  const key = (i: number) => Number.isNaN(values[i]) ? -Infinity : values[i] as number;
  order.sort((a, b) => key(a) === key(b) ? a - b : key(b) - key(a));
  return order.slice(0, count).sort((a, b) => a - b);
}

/** Gate factor of every expert for one token, from its router logits. */
export function gateFactors(logits: Floats, shape: SparseShape): number[] {
  const g = [...logits];
  if (shape.gate === "raw") return g;
  if (shape.gate === "sigmoid") return g.map(sigmoid);
  if (shape.gate === "none") return g.map(() => 1);
  const total = logSumExp(g); // softmax over all experts; the selected ones are not made to sum to 1
  return g.map((x) => Math.exp(x - total));
}

/** Row t of a (T, width) array. */
export function rowOf<A extends Floats | Int32Array>(array: A, t: number, width: number): A {
  return array.subarray(t * width, (t + 1) * width) as A;
}

function routeLogits({ routing, h, gateWeight, shape }: Parameters<RowKernels["sparseRoute"]>[0]): void {
  const { tokens, experts, hidden } = shape;
  for (let t = 0; t < tokens; t++) {
    for (let e = 0; e < experts; e++) {
      routing.logits[t * experts + e] = dot(h, t * hidden, gateWeight, e * hidden, hidden);
    }
  }
}

function sparseRoute(call: Parameters<RowKernels["sparseRoute"]>[0]): void {
  const { routing, shape: { tokens, experts, activeExperts } } = call;
  routeLogits(call);
  routing.expertTokens.fill(0);
  for (let t = 0; t < tokens; t++) {
    const chosen = topPositions([...rowOf(routing.logits, t, experts)], activeExperts);
    routing.experts.set(chosen, t * activeExperts);
    for (const e of chosen) routing.expertTokens[e] = at(routing.expertTokens, e) + 1;
  }
}

/** A neuron of one token: h . key, and gate * dot. */
interface Scored {
  readonly neuron: number;
  readonly dot: number;
  readonly score: number;
}

function scoreNeurons(
  t: number,
  neurons: Iterable<number>,
  h: Floats,
  factors: readonly number[],
  keys: Float64Array,
  shape: SparseShape,
): Scored[] {
  const { hidden } = shape;
  const perExpert = shape.neurons / shape.experts;
  return Array.from(neurons, (neuron) => {
    const product = dot(h, t * hidden, keys, neuron * hidden, hidden);
    return { neuron, dot: product, score: (factors[Math.floor(neuron / perExpert)] as number) * product };
  });
}

/** The neurons of one token's experts, increasing. */
function candidates(t: number, routing: SparseRouting, shape: SparseShape): number[] {
  const perExpert = shape.neurons / shape.experts;
  return [...rowOf(routing.experts, t, shape.activeExperts)].flatMap((e) =>
    Array.from({ length: perExpert }, (_, i) => e * perExpert + i)
  );
}

/** Each token's own top-K by signed score, z <= 0 included. */
function topNeurons(
  h: Floats,
  routing: SparseRouting,
  keys: Float64Array,
  shape: SparseShape,
): Scored[][] {
  return Array.from({ length: shape.tokens }, (_, t) => {
    const factors = gateFactors(rowOf(routing.logits, t, shape.experts), shape);
    const scored = scoreNeurons(t, candidates(t, routing, shape), h, factors, keys, shape);
    return topPositions(scored.map(({ score }) => score), shape.topK).map((i) => scored[i] as Scored);
  });
}

/** Every token's scores of the same neurons. */
function scoreAll(
  neurons: readonly number[],
  { h, routing, shape }: Pick<SparseCall, "h" | "routing" | "shape">,
  keys: Float64Array,
): Scored[][] {
  return Array.from(
    { length: shape.tokens },
    (_, t) =>
      scoreNeurons(t, neurons, h, gateFactors(rowOf(routing.logits, t, shape.experts), shape), keys, shape),
  );
}

/** Keeps what scores above 0. @returns how many pairs that is; when there is no room nothing is written @mutates pairs */
function keepPositive({ pairs }: Pick<SparseCall, "pairs">, perToken: readonly Scored[][]): number {
  const fired = perToken.map((own) => own.filter(({ score }) => score > 0));
  const needed = fired.reduce((sum, own) => sum + own.length, 0);
  if (needed > pairs.neurons.length) return needed;
  let pair = 0;
  pairs.offsets[0] = 0;
  fired.forEach((own, t) => {
    for (const { neuron, dot, score } of own) {
      pairs.neurons[pair] = neuron;
      pairs.dots[pair] = dot;
      pairs.scores[pair++] = score;
    }
    pairs.offsets[t + 1] = pair;
  });
  return needed;
}

function sparseForward(y: Floats, call: Omit<SparseCall, "gateWeight">): number {
  const { pairs, h, routing, shape } = call;
  const keys = fullRows(call.keys);
  let perToken = topNeurons(h, routing, keys, shape);
  if (shape.scope === "union") {
    // The paper's Algorithm 1: every token uses every neuron that any token selected.
    const chosen = new Set(perToken.flatMap((own) => own.map(({ neuron }) => neuron)));
    perToken = scoreAll([...chosen].sort((a, b) => a - b), call, keys);
  }
  const needed = keepPositive(call, perToken);
  if (needed > pairs.neurons.length) return needed;
  sparseValues(y, call);
  for (let t = 0; t < shape.tokens; t++) {
    // Comparisons lose what is no number: the token's output shows it.
    const logits = rowOf(routing.logits, t, shape.experts);
    const scores = scoreNeurons(t, candidates(t, routing, shape), h, gateFactors(logits, shape), keys, shape);
    const isFinite = logits.every(Number.isFinite) && scores.every(({ score }) => Number.isFinite(score));
    if (!isFinite) rowOf(y, t, shape.hidden).fill(NaN);
  }
  return needed;
}

function sparseValues(
  y: Floats,
  { pairs: { offsets, neurons, scores }, values, shape }: Parameters<RowKernels["sparseValues"]>[1],
): void {
  const [rows, { hidden }] = [fullRows(values), shape];
  y.fill(0);
  for (let t = 0; t < shape.tokens; t++) {
    for (let pair = offsets[t] as number; pair < (offsets[t + 1] as number); pair++) {
      addScaled(y, t * hidden, at(scores, pair), rows, at(neurons, pair) * hidden, hidden);
    }
  }
}

function sparseForwardAmong(y: Floats | null, call: SparseCall, united: Int32Array): number {
  const { routing, pairs, shape } = call;
  routeLogits(call);
  const perToken = scoreAll([...united], call, fullRows(call.keys));
  const needed = keepPositive(call, perToken);
  if (y === null || needed > pairs.neurons.length) return needed;
  sparseValues(y, call);
  perToken.forEach((own, t) => {
    const finite = rowOf(routing.logits, t, shape.experts).every(Number.isFinite) &&
      own.every(({ score }) => Number.isFinite(score));
    if (!finite) rowOf(y, t, shape.hidden).fill(NaN);
  });
  return needed;
}

function sparseTouch(touched: TouchedRows, neurons: Int32Array, pairCount: number): void {
  const fired = [...new Set(neurons.subarray(0, pairCount))].sort((a, b) => a - b);
  for (const neuron of fired) {
    if (at(touched.slots, neuron) >= 0) continue;
    touched.slots[neuron] = touched.rowCount;
    touched.rows[touched.rowCount++] = neuron;
  }
}

/** See `meft_sparse_route`, `meft_sparse_forward`, `meft_sparse_values`, `meft_sparse_forward_among` and `meft_sparse_touch`. */
export const sparseForwardKernels = {
  sparseRoute,
  sparseForward,
  sparseValues,
  sparseForwardAmong,
  sparseTouch,
} satisfies Partial<RowKernels>;
