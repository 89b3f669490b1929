// SPDX-License-Identifier: Apache-2.0
/** Contract cases of attention and cross-entropy. */
import type { AttentionShape } from "../../../lib/ops/kernels/model.ts";
import type { ActivationArray, Floats } from "../../../lib/tensor/tensor.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { now } from "../../now.ts";

interface AttentionCase {
  readonly label: string;
  readonly shape: AttentionShape;
  readonly spans: readonly number[];
}

function attentionCase(
  label: string,
  [heads, kvHeads, headDim]: readonly [number, number, number],
  spans: readonly number[],
  options: Partial<AttentionShape> = {},
): AttentionCase {
  const last = (column: number) => Math.max(0, ...spans.filter((_, i) => i % 4 === column));
  const rows = { queryRows: last(1), keyRows: last(3), heads, kvHeads, headDim };
  const scale = 1 / Math.sqrt(headDim);
  return { label, spans, shape: { ...rows, sees: "past", window: 0, scale, softcap: 0, ...options } };
}

/** Sequences that see themselves, side by side. */
function own(...lengths: readonly number[]): number[] {
  let row = 0;
  return lengths.flatMap((length) => [row, row + length, row, row += length]);
}

const WITH_EMPTY = own(5, 0, 7);
/** More queries than keys, no keys, no queries, one key, as many, fewer; query row 4 and key row 3 are in none. */
const CROSS = [0, 4, 0, 3, 5, 7, 4, 4, 7, 7, 4, 9, 7, 14, 9, 10, 14, 17, 10, 13, 17, 19, 13, 22];

const PAST: readonly AttentionCase[] = [
  attentionCase("one token", [1, 1, 1], own(1)),
  attentionCase("no spans", [2, 1, 4], [], { queryRows: 3 }),
  attentionCase("no rows", [2, 1, 4], []),
  attentionCase("spans with an empty sequence, as many kv heads", [3, 3, 5], WITH_EMPTY),
  attentionCase("two queries a kv head", [4, 2, 16], WITH_EMPTY),
  attentionCase("seven queries a kv head", [7, 1, 33], WITH_EMPTY),
  attentionCase("a window of one", [2, 1, 8], WITH_EMPTY, { window: 1 }),
  attentionCase("a window of three", [2, 2, 8], WITH_EMPTY, { window: 3 }),
  attentionCase("a window longer than the sequences", [2, 2, 8], WITH_EMPTY, { window: 50 }),
  attentionCase("query rows in no span", [2, 1, 6], [1, 3, 0, 2, 5, 6, 2, 3], { queryRows: 8 }),
  attentionCase("query and key rows in no span", [4, 2, 16], [3, 6, 4, 7, 7, 24, 7, 24], {
    queryRows: 29,
    keyRows: 26,
  }),
  attentionCase("one query on cached keys", [4, 2, 64], [0, 1, 0, 67, 1, 2, 67, 70], { window: 40 }),
  attentionCase("new queries after a cached prefix", [2, 1, 17], [0, 4, 0, 9]),
  attentionCase("spans out of order, some after a prefix", [6, 2, 24], [
    ...[9, 10, 140, 231],
    ...[0, 7, 10, 90],
    ...[7, 9, 1, 8],
  ], { queryRows: 12, keyRows: 235 }),
  attentionCase("sequences of whole tiles", [1, 1, 32], own(64, 96)),
  attentionCase("sequences longer than a tile", [2, 1, 20], own(131, 69)),
  attentionCase("key tiles that threads share", [2, 1, 5], own(391)),
  attentionCase("wide heads in groups", [4, 2, 80], own(70)),
  attentionCase("wide heads of an odd size", [2, 1, 129], own(70)),
  attentionCase("the widest heads, cached keys, a window", [2, 1, 256], [0, 20, 0, 40], { window: 30 }),
  attentionCase("a window inside a tile", [2, 1, 12], own(150, 5), { window: 23 }),
  attentionCase("a window in sequences longer than a tile", [2, 1, 20], own(131), { window: 70 }),
  // Long enough for fused kernels: alike, of several lengths, in groups, with a window, after a prefix, not from row 0.
  attentionCase("sequences of one length", [2, 1, 8], own(66, 66)),
  attentionCase("neighbours of several lengths", [2, 2, 16], own(70, 64, 73)),
  attentionCase("neighbours of several lengths, grouped heads, a window", [4, 2, 8], [
    ...[3, 69, 2, 70],
    ...[69, 133, 70, 140],
  ], { window: 40, queryRows: 140 }),
  attentionCase("a half after its first half", [2, 1, 24], [0, 64, 0, 130]),
];

const ALL: readonly AttentionCase[] = [
  attentionCase("one token", [1, 1, 1], own(1)),
  attentionCase("an empty sequence, as many kv heads", [3, 3, 5], WITH_EMPTY),
  attentionCase("seven queries a kv head", [7, 1, 33], WITH_EMPTY),
  attentionCase("itself alone, a window of one", [2, 1, 8], WITH_EMPTY, { window: 1 }),
  attentionCase("one neighbour on each side, a window of two", [2, 1, 8], WITH_EMPTY, { window: 2 }),
  attentionCase("one neighbour on each side, a window of three", [2, 2, 8], WITH_EMPTY, { window: 3 }),
  attentionCase("a window that just hides the ends", [2, 1, 9], own(7), { window: 11 }),
  attentionCase("a window that just hides nothing", [2, 1, 9], own(7), { window: 12 }),
  attentionCase("a window longer than the sequences", [2, 2, 8], WITH_EMPTY, { window: 50 }),
  attentionCase("a window around queries after a prefix", [4, 2, 16], [0, 20, 0, 40, 20, 21, 40, 45], {
    window: 9,
  }),
  attentionCase("a window in sequences longer than a tile", [2, 1, 20], own(131, 3), { window: 64 }),
  attentionCase("a window over tiles", [1, 1, 12], own(260), { window: 129 }),
  attentionCase("sequences longer than a tile", [4, 2, 20], own(131, 69)),
  attentionCase("key tiles that threads share", [2, 1, 5], own(391)),
  attentionCase("the widest heads", [2, 1, 256], own(70)),
  attentionCase("another sequence", [4, 2, 17], CROSS, { keyRows: 24 }),
  attentionCase("another sequence of one key", [2, 1, 8], [0, 5, 2, 3]),
  attentionCase("a longer sequence", [2, 1, 20], [0, 70, 0, 195]),
  attentionCase("a shorter sequence", [2, 1, 20], [0, 195, 0, 70]),
  attentionCase("one query on cached keys", [4, 2, 64], [0, 1, 0, 67, 1, 2, 67, 70]),
  // Long enough for fused kernels.
  attentionCase("sequences of one length", [2, 1, 8], own(66, 66)),
  attentionCase("neighbours of several lengths", [2, 2, 16], own(70, 64, 73)),
  attentionCase(
    "neighbours that see others, shorter and longer",
    [4, 2, 8],
    [3, 69, 2, 40, 69, 133, 40, 140],
    {
      queryRows: 140,
    },
  ),
  attentionCase("a window in neighbours of several lengths", [2, 1, 16], own(70, 64), { window: 20 }),
].map(({ label, spans, shape }) => ({ label: `all, ${label}`, spans, shape: { ...shape, sees: "all" } }));

/** Where a cap hardly bends a score, and where it flattens nearly all. */
const CAPPED: readonly AttentionCase[] = [
  attentionCase("one token", [1, 1, 1], own(1), { softcap: 1 }),
  attentionCase("a wide cap", [4, 2, 16], WITH_EMPTY, { softcap: 50, scale: 224 ** -0.5 }),
  attentionCase("a narrow cap", [7, 1, 33], WITH_EMPTY, { softcap: 0.75 }),
  attentionCase("a narrow cap of wide scores", [2, 1, 20], own(131, 69), { softcap: 1.5, scale: 2 }),
  attentionCase("a window of three", [2, 2, 8], WITH_EMPTY, { softcap: 2, window: 3 }),
  attentionCase("one query on cached keys", [4, 2, 64], [0, 1, 0, 67, 1, 2, 67, 70], { softcap: 2 }),
  attentionCase("all, in a window", [2, 1, 12], own(150, 5), { softcap: 3, sees: "all", window: 40 }),
  attentionCase("all of another sequence", [4, 2, 17], CROSS, { softcap: 1, sees: "all" }),
  attentionCase("the widest heads", [2, 1, 256], own(70), { softcap: 5, scale: 0.125 }),
  attentionCase("neighbours of several lengths", [2, 2, 16], own(70, 64, 73), { softcap: 2 }),
].map(({ label, spans, shape }) => ({ label: `capped scores, ${label}`, spans, shape }));

const ATTENTION = [...PAST, ...ALL, ...CAPPED];

function inputs(stage: Stage, { shape }: AttentionCase) {
  const queries = shape.queryRows * shape.heads * shape.headDim;
  const keys = shape.keyRows * shape.kvHeads * shape.headDim;
  return {
    queries,
    keys,
    q: stage.activation("q", queries, 2),
    k: stage.activation("k", keys),
    v: stage.activation("v", keys),
    dO: stage.activation("dO", queries),
    spans: (spans: readonly number[]) => Int32Array.from(spans),
  };
}

function forward(stage: Stage, test: AttentionCase): Outputs {
  const { queries, q, k, v, spans } = inputs(stage, test);
  const [o, lse] = [stage.activationOutput(queries), stage.output(test.shape.queryRows * test.shape.heads)];
  stage.k.attentionForward(o, lse, q, k, v, spans(test.spans), test.shape);
  return { o, lse: onlyCovered(now(stage.k.read(lse)), test) };
}

/** lse of rows in a span: that of other rows says nothing. */
function onlyCovered(lse: Floats, { shape, spans }: AttentionCase): Float64Array {
  const covered = new Set<number>();
  for (let s = 0; s < spans.length; s += 4) {
    for (let row = spans[s] as number; row < (spans[s + 1] as number); row++) covered.add(row);
  }
  return Float64Array.from(lse).filter((_, i) => covered.has(Math.floor(i / shape.heads)));
}

function backward(stage: Stage, test: AttentionCase): Outputs {
  const { queries, keys, q, k, v, dO, spans } = inputs(stage, test);
  const [o, lse] = [stage.activationOutput(queries), stage.output(test.shape.queryRows * test.shape.heads)];
  stage.k.attentionForward(o, lse, q, k, v, spans(test.spans), test.shape);
  const [dq, dk, dv] = [queries, keys, keys].map((count) => stage.activationOutput(count)) as [
    ActivationArray,
    ActivationArray,
    ActivationArray,
  ];
  stage.k.attentionBackward(dq, dk, dv, dO, q, k, v, o, lse, spans(test.spans), test.shape);
  return { dq, dk, dv };
}

/** Whether a query of a span, counted from its end, sees one of its keys, counted likewise. */
function sees({ sees, window }: AttentionShape, query: number, key: number): boolean {
  const distance = query - key; // how far the key lies ahead of the query's place
  if (sees === "past") return distance <= 0 && (window === 0 || distance > -window);
  return window === 0 || 2 * Math.abs(distance) <= window;
}

/**
 * Magnitudes. A score s has terms S = scale * sum |q||k|, and no more when capped; p = exp(s - lse) carries a relative
 * error in proportion to 1 + 2 max S, so P = p (1 + 2 max S). Then o: O = P|v|, dv: P|do|. ds = p (dp - delta) scale with
 * dp = do.v and delta = do.o has the error of p, of dp and of delta: DS = (P |dp - delta| + p (|do||v| + |do|O)) scale;
 * capped it is times slope = 1 - (s/cap)^2, off by 1 + 2 max S / cap itself. dq: DS|k|, dk: DS|q|.
 */
function magnitudes(stage: Stage, test: AttentionCase): Outputs {
  const { queries, keys, q, k, v, dO } = inputs(stage, test);
  const { shape } = test;
  const { headDim: D, heads, kvHeads, scale, softcap } = shape;
  const o = new Float64Array(queries);
  const [dq, dk, dv] = [new Float64Array(queries), new Float64Array(keys), new Float64Array(keys)];
  const lse: number[] = [];
  const dot = (a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, term = (x: number) => x) => {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += term((a[i + d] as number) * (b[j + d] as number));
    return sum;
  };
  const addTo = (to: Float64Array, i: number, factor: number, from: ArrayLike<number>, j: number) => {
    for (let d = 0; d < D; d++) to[i + d] = (to[i + d] as number) + factor * Math.abs(from[j + d] as number);
  };
  const visit = (row: number, head: number, rows: readonly number[]) => {
    const at = (row * heads + head) * D;
    const seen = rows.map((key) => (key * kvHeads + Math.floor(head * kvHeads / heads)) * D);
    const bent = seen.map((key) => softcap && Math.tanh(scale * dot(q, at, k, key) / softcap));
    const scores = seen.map((key, i) => softcap ? softcap * (bent[i] as number) : scale * dot(q, at, k, key));
    const largest = scale * Math.max(0, ...seen.map((key) => dot(q, at, k, key, Math.abs)));
    const sum = scores.reduce((total, score) => total + Math.exp(score), 0);
    lse.push(seen.length === 0 ? 0 : Math.abs(Math.log(sum)) + 1 + 2 * largest);
    const p = scores.map((score) => Math.exp(score) / sum);
    seen.forEach((key, i) => addTo(o, at, (p[i] as number) * (1 + 2 * largest), v, key));
    const dp = seen.map((key) => dot(dO, at, v, key));
    const delta = dp.reduce((total, value, i) => total + value * (p[i] as number), 0);
    seen.forEach((key, i) => {
      const [pi, terms] = [p[i] as number, dot(dO, at, v, key, Math.abs) + dot(dO, at, o, at, Math.abs)];
      const off = Math.abs((dp[i] as number) - delta);
      const slope = 1 - (bent[i] as number) ** 2, ofSlope = softcap && off * (1 + 2 * largest / softcap);
      const DS = pi * (slope * ((1 + 2 * largest) * off + terms) + ofSlope) * scale;
      addTo(dv, key, pi * (1 + 2 * largest), dO, at);
      addTo(dq, at, DS, k, key);
      addTo(dk, key, DS, q, at);
    });
  };
  for (let s = 0; s < test.spans.length; s += 4) {
    const [q0, q1, k0, k1] = test.spans.slice(s, s + 4) as [number, number, number, number];
    const all = Array.from({ length: k1 - k0 }, (_, i) => k0 + i);
    for (let row = q0; row < q1; row++) {
      const rows = all.filter((key) => sees(shape, q1 - row, k1 - key));
      for (let head = 0; head < heads; head++) visit(row, head, rows);
    }
  }
  return { o, lse: Float64Array.from(lse), dq, dk, dv };
}

const LOGITS = [[0, 5], [1, 1], [3, 17], [4, 130], [2, 1031], [40, 257], [3, 9973]] as const;

function crossEntropy(stage: Stage, tokens: number, vocabulary: number, scale: number): Outputs {
  const targets = Int32Array.from({ length: tokens }, (_, t) => t === 1 ? -1 : (7 * t + 3) % vocabulary);
  const [loss, logits] = [stage.output(tokens), stage.normal("logits", tokens * vocabulary, 5)];
  stage.k.crossEntropy(loss, logits, targets, vocabulary, scale);
  return { loss, logits };
}

/** loss = lse - logit; p = exp(logit - lse) carries a relative error in proportion to 1 + |logit| + |lse|. */
function crossEntropyMagnitudes(stage: Stage, tokens: number, vocabulary: number, scale: number): Outputs {
  const logits = stage.normal("logits", tokens * vocabulary, 5);
  const largest = absolute(logits).reduce((a, b) => Math.max(a, b), 0) + Math.log(vocabulary);
  const oracle = crossEntropy(stage, tokens, vocabulary, scale).logits as Float64Array;
  return {
    loss: new Float64Array(tokens).fill(1 + 2 * largest),
    // A gradient is scale * p, but for the target scale * (p - 1), the only one that is not positive.
    logits: scale === 0 ? absolute(logits) : oracle.map((g) => (g < 0 ? scale : g) * (1 + 2 * largest)),
  };
}

/**
 * Tensor cores take probabilities (o, dv) and their gradients (dq, dk) rounded to bf16, half a unit of 2^-8 of each term;
 * the other half is for what o's error does to delta.
 */
const DEVICE_BF16_MULTIPLE = 2 ** -8 / 2 ** -23;

/** Cases of this family. */
export const attentionCases: readonly KernelCase[] = [
  ...ATTENTION.flatMap((test): KernelCase[] => [
    {
      name: `attentionForward() of ${test.label}`,
      run: (stage) => forward(stage, test),
      magnitudes: (stage) => magnitudes(stage, test),
      deviceBf16Multiple: DEVICE_BF16_MULTIPLE,
      roundedWithin: ["o"],
    },
    {
      name: `attentionBackward() of ${test.label}`,
      run: (stage) => backward(stage, test),
      magnitudes: (stage) => magnitudes(stage, test),
      deviceBf16Multiple: DEVICE_BF16_MULTIPLE,
      roundedWithin: ["dq", "dk", "dv"],
    },
  ]),
  ...LOGITS.flatMap(([tokens, vocabulary]) =>
    [0, 0.125].map((scale): KernelCase => ({
      name: `crossEntropy() of (T,V) = (${tokens},${vocabulary}) ${
        scale === 0 ? "leaves" : "replaces"
      } the logits`,
      run: (stage) => crossEntropy(stage, tokens, vocabulary, scale),
      magnitudes: (stage) => crossEntropyMagnitudes(stage, tokens, vocabulary, scale),
    }))
  ),
  {
    name: "crossEntropy() of logits far apart is 0 or their distance",
    run(stage) {
      const [loss, logits] = [stage.output(2), stage.values([1000, -1000, 0, 1000, -1000, 0])];
      stage.k.crossEntropy(loss, logits, Int32Array.of(0, 1), 3, 1);
      return { loss, logits };
    },
  },
];
