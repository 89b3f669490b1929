// SPDX-License-Identifier: Apache-2.0
/** The kernels that are measured: sizes, operands, and the work by which a time becomes a rate. */
import type { ActivationKind, AttentionShape, NormCall, NormKind } from "../../lib/ops/kernels/model.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import type { SparseShape } from "../../lib/ops/kernels/rows.ts";
import { selfSpans } from "../../lib/ops/attention.ts";
import { reachOf } from "../../lib/ops/reach.ts";
import { createRowGradients } from "../../lib/ops/row_gradients.ts";
import type { Weight } from "../../lib/tensor/tensor.ts";
import { COUPLING_CASES } from "./coupling_cases.ts";
import { EXPERT_CASES } from "./expert_cases.ts";
import {
  activationBytes,
  activations,
  type KernelCase,
  type MakeCase,
  products,
  random,
  room,
  weight,
} from "./operands.ts";

const D = 1024;

/** What of attention is measured. */
type AttentionKind = Partial<AttentionShape> & { readonly name: string };

const ATTENTION: readonly AttentionKind[] = [
  { name: "attention" },
  { name: "attention to all", sees: "all" },
  { name: "attention to 64 around", sees: "all", window: 64 },
  { name: "attention capped", softcap: 50 },
];

/** Products with a weight (rows,cols) of the type that products compute in. */
export function linearCases(tokens: number, rows: number, cols: number): MakeCase[] {
  const shape = `${tokens} x ${rows} x ${cols}`;
  const gflop = 2e-9 * tokens * rows * cols;
  const make = (name: string, prepare: (k: Kernels) => () => void): MakeCase => (k) => {
    const bytes = 1e-9 * rows * cols * (products(k) === "bf16" ? 2 : 4);
    const cached = { bound: `${products(k)}Gflops`, work: gflop } as const;
    // With one token every weight is read for one product: memory is the limit.
    const limit = tokens === 1 ? { bound: "readGigabytes", work: bytes } as const : cached;
    return { name: `linear ${name} ${products(k)}`, shape, ...limit, run: prepare(k) };
  };
  return [
    make("forward", (k) => {
      const [y, x, w] = [
        new Float32Array(tokens * rows),
        random(k, tokens * cols),
        weight(k, products(k), rows, cols),
      ];
      return () => k.linearForward(y, x, w, null, tokens, false);
    }),
    make("backward data", (k) => {
      const [dx, dy] = [new Float32Array(tokens * cols), random(k, tokens * rows)];
      const w = weight(k, products(k), rows, cols);
      return () => k.linearBackwardData(dx, dy, w, tokens, false);
    }),
  ];
}

/** Everything else of a step, at sizes beyond the caches where memory is the limit. */
export const OTHER_CASES: readonly MakeCase[] = [
  ...ATTENTION.flatMap((kind): MakeCase[] => [
    (k) => attention(k, kind, false),
    (k) => attention(k, kind, true),
  ]),
  ...(["rms", "layer"] as const).flatMap((kind) => [
    (k: Kernels) => normForward(k, kind),
    (k: Kernels) => normBackward(k, kind),
  ]),
  ...([["silu", true], ["gelu", false], ["gelu_tanh", true]] as const).flatMap(([kind, gated]) => [
    (k: Kernels) => activationForward(k, kind, gated),
    (k: Kernels) => activationBackward(k, kind, gated),
  ]),
  ...EXPERT_CASES,
  ...COUPLING_CASES,
  (k) => {
    const [rows, vocabulary] = [512, 32000];
    const [logits, losses] = [random(k, rows * vocabulary), new Float32Array(rows)];
    const targets = Int32Array.from({ length: rows }, (_, t) => t);
    const run = () => k.crossEntropy(losses, logits, targets, vocabulary, 1);
    const work = 8e-9 * rows * vocabulary;
    return {
      name: "cross-entropy and gradient",
      shape: `${rows} x ${vocabulary}`,
      bound: "updateGigabytes",
      work,
      run,
    };
  },
  (k) => {
    const x = random(k, 1 << 24);
    return {
      name: "sum of squares",
      shape: "16 M",
      bound: "readGigabytes",
      work: 4e-9 * x.length,
      run: () => void k.sumSquares(x),
    };
  },
  (k) => {
    const count = 1 << 24;
    const [w, m, v, g] = [
      random(k, count),
      new Float32Array(count),
      new Float32Array(count),
      random(k, count, 1e-3),
    ];
    let step = 0;
    const run = () => k.adamwDense(w, m, v, g, adamw(++step));
    return { name: "AdamW dense", shape: "16 M", bound: "updateGigabytes", work: 28e-9 * count, run };
  },
  (k) => {
    const rows = 1 << 14;
    const matrix = k.rowMatrix(rows, D);
    k.rowMatrixWrite(matrix, random(k, rows * D, 0.02), 0);
    const moments = { m: k.floats(rows * D), v: k.floats(rows * D), lastStep: new Int32Array(rows) };
    const [grad, all] = [random(k, rows * D, 1e-3), Int32Array.from({ length: rows }, (_, row) => row)];
    let step = 0;
    const run = () => void k.adamwRows(matrix, moments, grad, all, rows, "lazy-exact", adamw(++step));
    return {
      name: "AdamW rows",
      shape: `${rows} x ${D}`,
      bound: "updateGigabytes",
      work: 28e-9 * rows * D,
      run,
    };
  },
  (k) => {
    const [all, rows] = [1 << 16, 1 << 14];
    const matrix = k.rowMatrix(all, D);
    k.rowMatrixWrite(matrix, random(k, all * D, 0.02), 0);
    // Every fourth row, in an order that no memory could foresee.
    const wanted = Int32Array.from({ length: rows }, (_, i) => (i * 40503 % rows) * 4);
    const out = new Uint16Array(rows * D);
    const run = () => void k.rowsGather(out, matrix, wanted);
    return {
      name: "rows gather bf16",
      shape: `${rows} of ${all} x ${D}`,
      bound: "updateGigabytes",
      work: 4e-9 * rows * D,
      run,
    };
  },
  (k) => {
    const rows = 1 << 14;
    const [to, from] = [random(k, rows * D), random(k, rows * D)];
    const places = Int32Array.from({ length: rows }, (_, i) => i * 40503 % rows);
    const run = () => void k.rowsAdd(to, from, places, D, rows);
    return {
      name: "rows add",
      shape: `${rows} x ${D}`,
      bound: "updateGigabytes",
      work: 12e-9 * rows * D,
      run,
    };
  },
];

function norm(k: Kernels, kind: NormKind): NormCall {
  const vector = (name: string): Weight => {
    const data = random(k, D);
    return { name, dtype: "f32", rows: 1, cols: D, data, mapped: null, grad: null };
  };
  const bias = kind === "layer" ? vector("bias") : null;
  return { kind, weight: vector("norm"), bias, eps: 1e-5, unitOffset: false };
}

function normForward(k: Kernels, kind: NormKind): KernelCase {
  const rows = 8192;
  const [y, x] = [new Float32Array(rows * D), random(k, rows * D)];
  const [stats, call] = [new Float32Array(2 * rows), norm(k, kind)];
  return {
    name: `${NORM_NAMES[kind]} norm forward`,
    shape: `${rows} x ${D}`,
    bound: "updateGigabytes",
    work: 8e-9 * rows * D,
    run: () => k.normForward(y, stats, x, call, rows),
  };
}

function normBackward(k: Kernels, kind: NormKind): KernelCase {
  const rows = 8192;
  const [dx, dy, x] = [new Float32Array(rows * D), random(k, rows * D), random(k, rows * D)];
  const [stats, call] = [new Float32Array(2 * rows).fill(1), norm(k, kind)];
  return {
    name: `${NORM_NAMES[kind]} norm backward`,
    shape: `${rows} x ${D}`,
    bound: "updateGigabytes",
    work: 12e-9 * rows * D,
    run: () => k.normBackward(dx, FROZEN, dy, x, stats, call, rows, false),
  };
}

function activationForward(k: Kernels, kind: ActivationKind, gated: boolean): KernelCase {
  const count = 4096 * 2816;
  const [y, x, up] = [room(k, count), activations(k, count), gated ? activations(k, count) : null];
  return {
    name: `${gated ? "gated " : ""}${kind} forward`,
    shape: "4096 x 2816",
    bound: "updateGigabytes",
    work: (gated ? 3e-9 : 2e-9) * activationBytes(k) * count,
    run: () => k.activationForward(y, x, up, kind),
  };
}

function activationBackward(k: Kernels, kind: ActivationKind, gated: boolean): KernelCase {
  const count = 4096 * 2816;
  const [x, up, dy] = [activations(k, count), gated ? activations(k, count) : null, activations(k, count)];
  const [dx, dup] = [room(k, count), gated ? room(k, count) : null];
  return {
    name: `${gated ? "gated " : ""}${kind} backward`,
    shape: "4096 x 2816",
    bound: "updateGigabytes",
    work: (gated ? 5e-9 : 3e-9) * activationBytes(k) * count,
    run: () => k.activationBackward(dx, dup, dy, x, up, kind),
  };
}

const NORM_NAMES: Readonly<Record<NormKind, string>> = { rms: "RMS", layer: "layer" };

/** The norm's own are frozen, as most are. */
const FROZEN = { weight: null, bias: null };

function adamw(step: number) {
  const lrHistory = new Float32Array(step).fill(1e-4);
  return { step, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, gradScale: 1, lrHistory };
}

/**
 * Four sequences of 256 tokens, 16 heads over 8. Counted: q.k and p.v of what a query sees; backward 2.5 times that. A cap's
 * tanh is not counted: the rate shows what it costs.
 */
function attention(k: Kernels, { name, ...own }: AttentionKind, backward: boolean): KernelCase {
  const [sequences, length, heads, kvHeads, headDim] = [4, 256, 16, 8, 64] as const;
  const T = sequences * length;
  const sizes = { queryRows: T, keyRows: T, heads, kvHeads, headDim };
  const shape: AttentionShape = { ...sizes, sees: "past", window: 0, scale: 1 / 8, softcap: 0, ...own };
  const spans = selfSpans(Int32Array.from({ length: sequences + 1 }, (_, s) => s * length));
  const [q, keys, values] = [
    activations(k, T * heads * headDim),
    activations(k, T * kvHeads * headDim),
    activations(k, T * kvHeads * headDim),
  ];
  const [o, lse] = [room(k, q.length), new Float32Array(T * heads)];
  const forward = () => k.attentionForward(o, lse, q, keys, values, spans, shape);
  const gflop = 4e-9 * sequences * seenPairs(shape, length) * heads * headDim;
  const text = `${sequences} x ${length}, ${heads}/${kvHeads} heads of ${headDim}`;
  if (!backward) {
    return { name: `${name} forward`, shape: text, bound: "f32Gflops", work: gflop, run: forward };
  }
  forward();
  const [dO, dq] = [activations(k, o.length), room(k, q.length)];
  const [dk, dv] = [room(k, keys.length), room(k, values.length)];
  const run = () => k.attentionBackward(dq, dk, dv, dO, q, keys, values, o, lse, spans, shape);
  return { name: `${name} backward`, shape: text, bound: "f32Gflops", work: 2.5 * gflop, run };
}

/** Pairs of a query and a key that it sees, in a sequence. */
function seenPairs(shape: AttentionShape, length: number): number {
  const { behind, ahead } = reachOf(shape);
  let pairs = 0;
  for (let i = 0; i < length; i++) pairs += Math.min(length, i + 1 + ahead) - Math.max(0, i - behind);
  return pairs;
}

/** The calls of a sparse adapter's step, in their order; each leaves what the next one needs. */
export function sparseCases(k: Kernels, neurons: number, experts: number): KernelCase[] {
  const shape: SparseShape = {
    gate: "raw",
    scope: "token",
    tokens: 1024,
    hidden: D,
    neurons,
    experts,
    activeExperts: 8,
    topK: 64,
  };
  const T = shape.tokens;
  const [h, dy, gateWeight] = [random(k, T * D), random(k, T * D, 1e-3), random(k, experts * D, 0.1)];
  const routing = {
    logits: new Float32Array(T * experts),
    experts: new Int32Array(T * shape.activeExperts),
    expertTokens: new Int32Array(experts),
  };
  const [keys, values] = [k.rowMatrix(neurons, D), k.rowMatrix(neurons, D)];
  for (const matrix of [keys, values]) k.rowMatrixWrite(matrix, random(k, neurons * D, 0.02), 0);
  const room = T * shape.topK;
  const pairs = {
    offsets: new Int32Array(T + 1),
    neurons: new Int32Array(room),
    dots: new Float32Array(room),
    scores: new Float32Array(room),
  };
  const gradients = createRowGradients(k, neurons, D, { keys: true, slots: neurons });
  const [y, dh, dgate] = [new Float32Array(T * D), new Float32Array(T * D), new Float32Array(experts * D)];
  const call = { shape, h, gateWeight, keys, values, routing, pairs };
  const route = () => void k.sparseRoute(call);
  let fired = 0;
  const forward = () => void (fired = k.sparseForward(y, call) as number);
  route();
  forward();
  k.sparseTouch(gradients, pairs.neurons, fired);
  const backward = () => void k.sparseBackward({ ...call, dy, dh, dgateWeight: dgate }, gradients, 0);
  const text = `${T} tokens, d ${D}, r ${neurons}, N ${experts}, k_e 8, K 64`;
  const score = 2e-9 * T * shape.activeExperts * neurons / experts * D;
  const pair = 2e-9 * fired * D;
  const bound = `${products(k)}Gflops` as const;
  return [
    { name: "sparse routing", shape: text, bound: "f32Gflops", work: 2e-9 * T * experts * D, run: route },
    { name: "sparse scores, top-K, values", shape: text, bound, work: score + pair, run: forward },
    { name: "sparse backward", shape: text, bound, work: 4 * pair, run: backward },
  ];
}
