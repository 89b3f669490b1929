// SPDX-License-Identifier: Apache-2.0
/** meft_attention_* against the f64 reference, element by element. */
import assert from "node:assert/strict";
import { assertSame, assertWithin } from "../compare.ts";
import { attentionBackward, attentionForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { writeAttentionParams } from "../../lib/native/structs.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import type { AttentionShape } from "../../lib/ops/kernels/model.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { bitsOf, F32_EPS, guarded, misaligned, normals, onEveryTarget } from "./kernel_check.ts";

interface Case extends AttentionShape {
  readonly name: string;
  readonly spans: Int32Array;
}

interface Inputs {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly dO: Float32Array;
}

/** A case of spans of queries that are all of their keys, side by side, after `gap` rows that no span holds. */
function packed(
  name: string,
  lengths: readonly number[],
  sizes: { heads: number; kvHeads: number; headDim: number; window?: number; gap?: number },
): Case {
  let row = sizes.gap ?? 0;
  const spans = lengths.flatMap((length) => {
    const span = [row, row + length, row, row + length];
    row += length;
    return span;
  });
  const rows = row + (sizes.gap ?? 0);
  return {
    ...{ name, spans: Int32Array.from(spans), queryRows: rows, keyRows: rows },
    ...{ heads: sizes.heads, kvHeads: sizes.kvHeads, headDim: sizes.headDim, window: sizes.window ?? 0 },
    ...{ sees: "past", scale: Math.fround(1 / Math.sqrt(sizes.headDim)), softcap: 0 },
  };
}

const CASES: readonly Case[] = [
  packed("no span", [], { heads: 1, kvHeads: 1, headDim: 4, gap: 2 }),
  packed("one token", [1], { heads: 1, kvHeads: 1, headDim: 1 }),
  packed("tiny spans, an empty one, rows in none", [3, 0, 1, 17, 2], {
    heads: 4,
    kvHeads: 2,
    headDim: 16,
    gap: 3,
  }),
  packed("odd head size", [30, 53], { heads: 3, kvHeads: 1, headDim: 17 }),
  packed("more than one key tile and query block", [197], { heads: 2, kvHeads: 2, headDim: 20 }),
  packed("exactly a tile", [64, 96], { heads: 1, kvHeads: 1, headDim: 32 }),
  packed("wide heads", [70], { heads: 2, kvHeads: 1, headDim: 129 }),
  packed("a window of 1", [9], { heads: 2, kvHeads: 1, headDim: 8, window: 1 }),
  packed("a window inside a tile", [150, 5], { heads: 2, kvHeads: 1, headDim: 12, window: 23 }),
  packed("a window over tiles", [260], { heads: 1, kvHeads: 1, headDim: 12, window: 100 }),
  packed("key tiles dealt out to segments", [771], { heads: 2, kvHeads: 1, headDim: 5 }),
  {
    ...packed("", [], { heads: 6, kvHeads: 2, headDim: 24 }),
    name: "more keys than queries, spans out of order, decoding",
    spans: Int32Array.of(9, 10, 140, 231, 0, 7, 10, 90, 7, 9, 1, 8),
    queryRows: 12,
    keyRows: 235,
  },
  {
    ...packed("", [], { heads: 4, kvHeads: 1, headDim: 24, window: 40 }),
    name: "decoding with a window",
    spans: Int32Array.of(0, 1, 0, 100, 1, 2, 100, 103),
    queryRows: 2,
    keyRows: 103,
  },
];

function inputsOf({ queryRows, keyRows, heads, kvHeads, headDim }: Case): Inputs {
  const [queries, keys] = [queryRows * heads * headDim, keyRows * kvHeads * headDim];
  return { q: normals(queries, 1, 2), k: normals(keys, 2), v: normals(keys, 3), dO: normals(queries, 4) };
}

function paramsOf(c: Case): Uint8Array {
  const { queryRows: qRows, keyRows: kRows, heads, kvHeads, headDim, window, scale } = c;
  return writeAttentionParams({
    compute: MEFT_F32,
    qRows,
    kRows,
    heads,
    kvHeads,
    headDim,
    window,
    scale,
    spanCount: c.spans.length / 4,
  });
}

function forward(lane: NativeContext, c: Case, { q, k, v }: Inputs) {
  const out = { o: guarded(q.length), lse: guarded(c.queryRows * c.heads) };
  attentionForward(lane, out.o, out.lse, q, k, v, c.spans, paramsOf(c));
  return out;
}

function backward(lane: NativeContext, c: Case, inputs: Inputs, o: Float32Array, lse: Float32Array) {
  const { q, k, v, dO } = inputs;
  const out = { dq: guarded(q.length), dk: guarded(k.length), dv: guarded(v.length) };
  attentionBackward(lane, out.dq, out.dk, out.dv, dO, q, k, v, o, lse, c.spans, paramsOf(c));
  return out;
}

/** Forward and backward in f64, of the inputs' magnitudes too where `map` is Math.abs. */
function oracle(c: Case, inputs: Inputs) {
  const { q, k, v, dO } = inputs;
  const kernels = referenceKernels();
  const [o, lse] = [new Float64Array(q.length), new Float64Array(c.queryRows * c.heads)];
  kernels.attentionForward(o, lse, q, k, v, c.spans, c);
  const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.length)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  kernels.attentionBackward(dq, dk, dv, dO, q, k, v, o, lse, c.spans, c);
  return { o, lse, dq, dk, dv };
}

/**
 * Sums of magnitudes behind every result, and the relative error of each probability in units of eps. Written plainly:
 * for a query and a key it sees, p = softmax(scale q.k), and with |.| on every factor
 *   o: p|v|,  dv: p|do|,  ds = scale * p * (|do|.|v| + |do|.|o|),  dq: ds|k|,  dk: ds|q|.
 */
function magnitudes(c: Case, { q, k, v, dO }: Inputs, o: Float64Array, lse: Float64Array) {
  const { heads, kvHeads, headDim: D, scale, window, spans } = c;
  const [sumO, sumDq] = [new Float64Array(q.length), new Float64Array(q.length)];
  const [sumDk, sumDv] = [new Float64Array(k.length), new Float64Array(k.length)];
  let error = 16;
  const dotAbs = (a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number) => {
    let total = 0;
    for (let d = 0; d < D; d++) total += Math.abs((a[i + d] as number) * (b[j + d] as number));
    return total;
  };
  const addAbs = (to: Float64Array, i: number, factor: number, x: ArrayLike<number>, j: number) => {
    for (let d = 0; d < D; d++) to[i + d] = (to[i + d] as number) + factor * Math.abs(x[j + d] as number);
  };
  for (let s = 0; s < spans.length; s += 4) {
    const [qBegin, qEnd, kBegin, kEnd] = [...spans.subarray(s, s + 4)] as [number, number, number, number];
    for (let row = qBegin; row < qEnd; row++) {
      const last = kEnd - (qEnd - row);
      for (let key = window > 0 ? Math.max(kBegin, last - window + 1) : kBegin; key <= last; key++) {
        for (let head = 0; head < heads; head++) {
          const a = (row * heads + head) * D, b = (key * kvHeads + Math.floor(head * kvHeads / heads)) * D;
          let score = 0;
          for (let d = 0; d < D; d++) score += scale * (q[a + d] as number) * (k[b + d] as number);
          const p = Math.exp(score - (lse[row * heads + head] as number));
          error = Math.max(error, 16 + 4 * scale * dotAbs(q, a, k, b));
          const ds = scale * p * (dotAbs(dO, a, v, b) + dotAbs(dO, a, o, a));
          addAbs(sumO, a, p, v, b);
          addAbs(sumDv, b, p, dO, a);
          addAbs(sumDq, a, ds, k, b);
          addAbs(sumDk, b, ds, q, a);
        }
      }
    }
  }
  return { sumO, sumDq, sumDk, sumDv, bound: error * F32_EPS };
}

for (const c of CASES) {
  Deno.test(`attentionForward() and attentionBackward() match the oracle: ${c.name}`, () => {
    const inputs = inputsOf(c), expected = oracle(c, inputs);
    const { sumO, sumDq, sumDk, sumDv, bound } = magnitudes(c, inputs, expected.o, expected.lse);
    const within = (name: string, actual: Float32Array, oracleValues: Float64Array, sums: Float64Array) =>
      assertWithin(name, actual, oracleValues, (i) => bound * (sums[i] as number));
    onEveryTarget((lane) => {
      const out = forward(lane, c, inputs);
      return { ...out, ...backward(lane, c, inputs, out.o, out.lse) };
    }, (out) => {
      within("o", out.o, expected.o, sumO);
      assertWithin("lse", out.lse, expected.lse, (i) => bound * (1 + Math.abs(expected.lse[i] as number)));
      within("dq", out.dq, expected.dq, sumDq);
      within("dk", out.dk, expected.dk, sumDk);
      within("dv", out.dv, expected.dv, sumDv);
    });
  });
}

Deno.test("attentionBackward() matches central differences of attentionForward()", () => {
  const c = packed("", [5, 4], { heads: 2, kvHeads: 1, headDim: 4, window: 3 });
  const inputs = inputsOf(c), h = 2 ** -7;
  using lane = new NativeContext({ threads: 1 });
  const value = (moved: Inputs) =>
    forward(lane, c, moved).o.reduce((sum, x, i) => sum + x * (inputs.dO[i] as number), 0);
  const { o, lse } = forward(lane, c, inputs);
  const gradients = backward(lane, c, inputs, o, lse);
  for (const name of ["q", "k", "v"] as const) {
    const differences = Array.from(inputs[name], (x, i) => {
      const at = (change: number) => {
        const moved = inputs[name].slice();
        moved[i] = x + change;
        return value({ ...inputs, [name]: moved });
      };
      return (at(h) - at(-h)) / (2 * h);
    });
    // h^2/6 times a third derivative of at most some tens, and the rounding of a sum of 72 terms over 2h.
    assertWithin(`d${name}`, gradients[`d${name}`], differences, () => 20 * h * h + 200 * F32_EPS / h);
  }
});

Deno.test("attentionForward() lets nothing cross a span and no later key reach a query", () => {
  const c = packed("", [20, 30], { heads: 2, kvHeads: 1, headDim: 8 });
  const inputs = inputsOf(c), changed = { ...inputs, k: inputs.k.slice(), v: inputs.v.slice() };
  for (const x of [changed.k, changed.v]) x.fill(1e3, 25 * 8, 26 * 8); // key 5 of the second span
  onEveryTarget(
    (lane) => ({ before: forward(lane, c, inputs).o, after: forward(lane, c, changed).o }),
    (out) => {
      const rows = (x: Float32Array, from: number, to: number) => bitsOf(x.subarray(from * 16, to * 16));
      assertSame(rows(out.after, 0, 25), rows(out.before, 0, 25));
      for (let row = 25; row < 50; row++) {
        assert.notDeepEqual(rows(out.after, row, row + 1), rows(out.before, row, row + 1));
      }
    },
  );
});

Deno.test("attentionForward() weighs ties alike, passes -Infinity over and keeps NaN in its span", () => {
  const c = { ...packed("", [4, 3], { heads: 1, kvHeads: 1, headDim: 1 }), scale: 1 };
  const q = misaligned([1, 1, 1, 1, 1, 1, 1]), v = misaligned([1, 2, 3, 5, 1, 1, 1]);
  const k = misaligned([0, 0, -Infinity, 0, NaN, 1, 1]);
  onEveryTarget((lane) => forward(lane, c, { q, k, v, dO: q }), ({ o }) => {
    assertWithin("o", o.subarray(0, 4), [1, 1.5, 1.5, 8 / 3], () => 4 * F32_EPS * 3);
    assert.ok(o.subarray(4).every(Number.isNaN));
  });
});

Deno.test("attention refuses bad spans and sizes, naming them, before it writes", () => {
  using lane = new NativeContext({ threads: 1 });
  const good = packed("", [4, 4], { heads: 2, kvHeads: 1, headDim: 2 });
  const inputs = inputsOf(good), o = new Float32Array(32).fill(7), lse = new Float32Array(16).fill(7);
  const refused = (change: Partial<Case>, message: RegExp) => {
    const c = { ...good, ...change };
    const { q, k, v } = inputs;
    assert.throws(() => attentionForward(lane, o, lse, q, k, v, c.spans, paramsOf(c)), message);
    assert.ok(o.every((x) => x === 7) && lse.every((x) => x === 7));
  };
  refused(
    { spans: Int32Array.of(0, 9, 0, 9) },
    /span 0 has query rows 0 to 9, expected a range within 0 to 8/,
  );
  refused({ spans: Int32Array.of(0, 4, 0, 4, -1, 4, 0, 5) }, /span 1 has query rows -1 to 4/);
  refused({ spans: Int32Array.of(0, 4, 5, 9) }, /span 0 has key rows 5 to 9/);
  refused({ spans: Int32Array.of(0, 4, 0, 3) }, /span 0 has 4 queries and 3 keys/);
  refused({ spans: Int32Array.of(4, 8, 4, 8, 0, 5, 0, 5) }, /spans 1 and 0 share query row 4/);
  refused({ heads: 3, kvHeads: 2 }, /heads is 3 and kv_heads 2/);
  refused({ headDim: 0 }, /head_dim is 0/);
  refused({ scale: 0 }, /scale is 0/);
  refused({ window: -1 }, /window is -1/);
  const shared = { ...good, spans: Int32Array.of(0, 2, 0, 4, 2, 4, 2, 6) };
  attentionForward(lane, o, lse, inputs.q, inputs.k, inputs.v, shared.spans, paramsOf(shared));
  assert.throws(
    () => backward(lane, shared, inputs, o, lse),
    /attention_backward: spans 0 and 1 share key row 2/,
  );
});
