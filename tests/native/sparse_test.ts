// SPDX-License-Identifier: Apache-2.0
/** meft_sparse_* against the equations in f64: sizes that cross every block, ties, modes, slots, refusals. */
import assert from "node:assert/strict";
import { sparseTouch } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { assertWithin, bitsOf, F32_EPS, guarded, normals, onEveryTarget } from "./kernel_check.ts";
import {
  BF16,
  type Call,
  F32,
  forward,
  GATES,
  Gradients,
  makeCall,
  route,
  scatter,
  SCOPES,
} from "./sparse_check.ts";
import type { Sizes } from "./sparse_check.ts";
import { oracleBackward, type OraclePair, oraclePairs, oracleRoute, oracleValues } from "./sparse_oracle.ts";

const BASE: Sizes = { gate: "raw", scope: "token", compute: F32, T: 7, D: 37, R: 24, N: 4, active: 2, K: 3 };

/** Sizes at the edges: of vectors, of the blocks of tokens (192), neurons (256) and columns (512 and 1024). */
const SIZES: readonly Partial<Sizes>[] = [
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

/** How far a chain of D multiply-adds may be off: sum of |a . b| over row i of a and row j of b, times its roundings. */
function chainBound(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, D: number): number {
  let size = 0;
  for (let d = 0; d < D; d++) size += Math.abs((a[i * D + d] as number) * (b[j * D + d] as number));
  return (D + 2) * F32_EPS * size;
}

/** The same for a pair's dot, and for its score: factor * dot, where the factor comes from the router's chains. */
function pairBounds(call: Call, { token, neuron, dot, score }: OraclePair): { dot: number; score: number } {
  const dotBound = chainBound(call.scored, token, call.keys.seen, neuron, call.D);
  if (call.gate === "none") return { dot: dotBound, score: dotBound };
  const factor = Math.abs(score / dot);
  const logits = Array.from(
    { length: call.N },
    (_, e) => chainBound(call.h, token, call.gateWeight, e, call.D),
  );
  // d sigmoid/dg <= factor; softmax moves by at most 2 factor times the largest error; exp and division add a few ulp.
  const factorBound = call.gate === "raw"
    ? logits[Math.floor(neuron / (call.R / call.N))] as number
    : factor * (2 * Math.max(...logits) + (call.N + 16) * F32_EPS);
  return {
    dot: dotBound,
    score: factor * dotBound + (Math.abs(dot) + dotBound) * factorBound + 2 * F32_EPS * score,
  };
}

function checkForward(call: Call): void {
  const pairs = oraclePairs(call);
  const offsets = Array.from({ length: call.T + 1 }, (_, t) => pairs.filter(({ token }) => token < t).length);
  const { y, size } = oracleValues(call, pairs);
  const bounds = pairs.map((pair) => pairBounds(call, pair));
  const inherited =
    oracleValues(call, pairs.map((pair, i) => ({ ...pair, score: bounds[i]?.score as number }))).size;
  onEveryTarget((lane) => {
    const { logits, experts, load, guards } = route(lane, call);
    const out = forward(
      lane,
      call,
      { logits, experts },
      call.T * Math.min(call.K, call.R) * 8 + pairs.length,
    );
    assert.equal(out.needed, pairs.length);
    const { experts: oracleExperts } = oracleRoute(call);
    assert.deepEqual([...experts], oracleExperts.flat());
    assert.deepEqual([...load], [...load.keys()].map((e) => experts.filter((chosen) => chosen === e).length));
    assert.deepEqual([...out.offsets], offsets);
    assert.deepEqual([...out.neurons.subarray(0, out.needed)], pairs.map(({ neuron }) => neuron));
    const { dots, scores } = out;
    return { y: out.y, logits, dots, scores, ...guards, ...out.guards };
  }, (out) => {
    assertWithin(
      "dots",
      out.dots.subarray(0, pairs.length),
      pairs.map((p) => p.dot),
      (i) => bounds[i]?.dot as number,
    );
    assertWithin(
      "scores",
      out.scores.subarray(0, pairs.length),
      pairs.map((p) => p.score),
      (i) => bounds[i]?.score as number,
    );
    assertWithin(
      "y",
      out.y,
      y,
      (i) => (inherited[i] as number) + (call.R + 2) * F32_EPS * (size[i] as number),
    );
  });
}

Deno.test("sparseRoute() and sparseForward() fire exactly the oracle's pairs where scores tie, at every size", () => {
  for (const gate of ["raw", "none"] as const) {
    for (const scope of SCOPES) {
      for (const compute of [F32, BF16]) {
        for (const sizes of SIZES) {
          if (scope === "union" && (sizes.T ?? 0) > 20) continue;
          checkForward(makeCall({ ...BASE, gate, scope, compute, ...sizes }, "coarse"));
        }
      }
    }
  }
});

Deno.test("sparseForward() matches the oracle for every gate, scope and compute type", () => {
  for (const gate of GATES) {
    for (const scope of SCOPES) {
      for (const compute of [F32, BF16]) {
        checkForward(makeCall({ ...BASE, gate, scope, compute, T: 33, R: 60, N: 6, K: 8 }, "normal"));
      }
    }
  }
});

Deno.test("sparseForward() fires nothing for an expert with a logit of 0, and the opposite keys for a negative one", () => {
  const call = makeCall({ ...BASE, active: 4, K: 24 }, "coarse");
  call.gateWeight.fill(0, 0, call.D);
  checkForward(call);
  const { logits } = oracleRoute(call);
  const pairs = oraclePairs(call);
  assert.ok(pairs.every(({ neuron }) => neuron >= call.R / call.N), "expert 0 has a factor of 0");
  assert.ok(
    logits.some((g) => g < 0) && pairs.some(({ dot }) => dot < 0),
    "negative factors select negative dots",
  );
});

Deno.test("sparseForward() with one expert taking every token matches the oracle", () => {
  const call = makeCall({ ...BASE, T: 200, active: 1, D: 12 }, "coarse");
  for (let t = 0; t < call.T; t++) call.h[t * call.D] = call.scored[t * call.D] = 2;
  for (let e = 0; e < call.N; e++) call.gateWeight[e * call.D] = e === 2 ? 64 : 0;
  checkForward(call);
  assert.ok(oracleRoute(call).experts.every(([expert]) => expert === 2));
});

Deno.test("sparseForward() gives a token the same bits whatever other tokens are in the call", () => {
  for (const compute of [F32, BF16]) {
    const whole = makeCall({ ...BASE, compute, T: 300, D: 600, R: 64, K: 6 }, "normal");
    onEveryTarget((lane) => {
      const all = forward(lane, whole, route(lane, whole), 300 * 6);
      const parts = [[0, 113], [113, 114], [114, 300]].map(([begin = 0, end = 0]) => {
        const part = { ...whole, T: end - begin, h: whole.h.slice(begin * whole.D, end * whole.D) };
        return forward(lane, part, route(lane, part), 300 * 6);
      });
      const joined = parts.flatMap(({ y }) => [...bitsOf(y)]);
      assert.deepEqual(Uint32Array.from(joined), bitsOf(all.y));
      return { y: all.y };
    }, () => {});
  }
});

Deno.test("sparseForward() says how many pairs there are when they do not fit, and then fills exactly that room", () => {
  for (const scope of SCOPES) {
    const call = makeCall({ ...BASE, scope, T: 40 }, "coarse");
    const pairs = oraclePairs(call);
    onEveryTarget((lane) => {
      const routing = route(lane, call);
      for (const room of [0, 5, pairs.length - 1]) {
        const short = forward(lane, call, routing, room);
        assert.equal(short.needed, pairs.length);
        assert.ok(short.y.every(Number.isNaN), "y is not touched");
      }
      const { y, dots, scores, guards, neurons } = forward(lane, call, routing, pairs.length);
      assert.deepEqual([...neurons], pairs.map(({ neuron }) => neuron));
      return { y, dots, scores, ...guards };
    }, () => {});
  }
});

Deno.test("sparseForward() makes y NaN for a token whose h, router or keys hold a NaN, and only for such a token", () => {
  for (const scope of SCOPES) {
    for (const gate of ["raw", "none"] as const) {
      const call = makeCall({ ...BASE, gate, scope, T: 5 }, "normal");
      const nanRows = (change: Partial<Call>) => {
        const broken = { ...call, ...change };
        const rows: boolean[][] = [];
        onEveryTarget((lane) => {
          const { y } = forward(lane, broken, route(lane, broken), 5 * call.R);
          rows.push(
            Array.from({ length: 5 }, (_, t) => y.subarray(t * call.D, (t + 1) * call.D).every(Number.isNaN)),
          );
          return { y };
        }, () => {});
        return rows;
      };
      const h = call.h.slice();
      h[3 * call.D + 5] = NaN;
      for (const rows of nanRows({ h })) assert.deepEqual(rows, [false, false, false, true, false]);
      const gateWeight = call.gateWeight.slice();
      gateWeight[0] = NaN; // NaN never wins a comparison, so no token selects this expert
      for (const rows of nanRows({ gateWeight })) assert.deepEqual(rows, [true, true, true, true, true]);
      const hi = call.keys.hi.slice();
      const { experts } = oracleRoute(call);
      const chosen = experts[1]?.[0] as number; // every token that is scored against its keys must notice
      hi[(chosen * call.R / call.N + 2) * call.D] = 0x7fc0;
      const meets = experts.map((own) => own.includes(chosen));
      if (scope === "union") continue;
      for (const rows of nanRows({ keys: { ...call.keys, hi } })) assert.deepEqual(rows, meets);
    }
  }
});

/** One forward and backward, against the oracle's gradients for the oracle's pairs. */
function checkBackward(call: Call, options: { frozenKeys?: boolean; frozenRouter?: boolean } = {}): void {
  const pairs = oraclePairs(call);
  const dy = normals(call.T * call.D, 7);
  const expected = oracleBackward(call, pairs, dy), size = oracleBackward(call, pairs, dy, true);
  onEveryTarget((lane) => {
    const routing = route(lane, call);
    const fired = forward(lane, call, routing, pairs.length);
    assert.equal(fired.needed, pairs.length);
    const gradients = new Gradients(call);
    const out = gradients.add(lane, call, routing, fired, dy, { start: 0.5, ...options });
    const { dkeys, dvalues } = gradients;
    if (options.frozenKeys) assert.ok(dkeys.every(Number.isNaN), "frozen keys get no gradient");
    if (options.frozenRouter) assert.ok(out.dgateWeight.every((x) => x === 0.5), "a frozen router gets none");
    const rows = { keys: scatter(gradients, dkeys, call), values: scatter(gradients, dvalues, call) };
    const { keys, values } = { keys: Float32Array.from(rows.keys), values: Float32Array.from(rows.values) };
    return { ...out, dkeys, dvalues, keys: copyGuarded(keys), values: copyGuarded(values) };
  }, (out) => {
    // Every term is a product of chains of up to D roundings each; sums add one rounding a term.
    const bound = (6 * call.D + call.T + 60) * F32_EPS;
    const check = (
      name: string,
      actual: Float32Array,
      oracle: Float64Array,
      sizes: Float64Array,
      start: number,
    ) =>
      assertWithin(
        name,
        actual,
        oracle.map((x) => x + start),
        (i) => bound * ((sizes[i] as number) + start),
      );
    check("dh", out.dh, expected.dh, size.dh, 0.5);
    check("dvalues", out.values, expected.dvalues, size.dvalues, 0);
    if (!options.frozenKeys) check("dkeys", out.keys, expected.dkeys, size.dkeys, 0);
    if (!options.frozenRouter) check("dW_g", out.dgateWeight, expected.dgateWeight, size.dgateWeight, 0.5);
  });
}

function copyGuarded(values: Float32Array): Float32Array<ArrayBuffer> {
  const copy = guarded(values.length);
  copy.set(values);
  return copy;
}

Deno.test("sparseBackward() matches the oracle for every gate, scope and compute type", () => {
  for (const gate of GATES) {
    for (const scope of SCOPES) {
      for (const compute of [F32, BF16]) {
        checkBackward(makeCall({ ...BASE, gate, scope, compute, T: 19, R: 60, N: 6, K: 8 }, "normal"));
      }
    }
  }
});

Deno.test("sparseBackward() matches the oracle at every size", () => {
  for (const sizes of SIZES) checkBackward(makeCall({ ...BASE, ...sizes }, "coarse"));
});

Deno.test("sparseBackward() leaves frozen keys and a frozen router alone, and still sends their part to dh", () => {
  for (const gate of GATES) {
    checkBackward(makeCall({ ...BASE, gate }, "normal"), { frozenKeys: true });
    checkBackward(makeCall({ ...BASE, gate }, "normal"), { frozenRouter: true });
  }
});

Deno.test("the oracle's gradients are those of its forward, by central differences", () => {
  for (const gate of GATES) {
    const call = makeCall({ ...BASE, gate, T: 4, D: 5 }, "normal");
    const dy = normals(call.T * call.D, 7);
    // f64 copies, so that small steps are seen; f32 rounding would drown them.
    const h = Float64Array.from(call.h), gateWeight = Float64Array.from(call.gateWeight);
    const moved = {
      ...call,
      h,
      scored: h,
      gateWeight,
      keys: { ...call.keys, seen: call.keys.seen.slice() },
      values: { ...call.values, seen: call.values.seen.slice() },
    } as unknown as Call;
    const loss = () =>
      oracleValues(moved, oraclePairs(moved)).y.reduce((sum, x, i) => sum + x * (dy[i] as number), 0);
    const { dh, dgateWeight, dkeys, dvalues } = oracleBackward(moved, oraclePairs(moved), dy);
    const inputs = [[h, dh], [gateWeight, dgateWeight], [moved.keys.seen, dkeys], [
      moved.values.seen,
      dvalues,
    ]] as const;
    for (const [input, gradient] of inputs) {
      const quotients = input.map((x, i) => {
        const at = (value: number) => (input[i] = value, loss());
        const quotient = (at(x + 1e-5) - at(x - 1e-5)) / 2e-5;
        input[i] = x;
        return quotient;
      });
      const scale = quotients.reduce((most, q) => Math.max(most, Math.abs(q)), 1);
      assertWithin(gate, gradient, quotients, () => 1e-8 * scale);
    }
  }
});

Deno.test("sparseTouch() and sparseBackward() add up over calls: old slots accumulate, new ones are written", () => {
  const first = makeCall({ ...BASE, T: 3 }, "normal"), second = { ...first, h: normals(9 * 37, 20), T: 9 };
  const calls = [first, { ...second, scored: Float64Array.from(second.h) }];
  const dys = [normals(3 * 37, 21), normals(9 * 37, 22)];
  const expected = calls.map((call, i) => oracleBackward(call, oraclePairs(call), dys[i] as Float32Array));
  const size = calls.map((call, i) => oracleBackward(call, oraclePairs(call), dys[i] as Float32Array, true));
  const neurons = calls.map((call) =>
    [...new Set(oraclePairs(call).map((p) => p.neuron))].sort((a, b) => a - b)
  );
  const added = (neurons[1] as number[]).filter((j) => !neurons[0]?.includes(j));
  assert.ok(
    added.length > 0 && added.length < (neurons[1] as number[]).length,
    "the second call meets old and new rows",
  );
  onEveryTarget((lane) => {
    const gradients = new Gradients(first);
    calls.forEach((call, i) => {
      const routing = route(lane, call);
      gradients.add(
        lane,
        call,
        routing,
        forward(lane, call, routing, call.T * call.K),
        dys[i] as Float32Array,
      );
    });
    assert.deepEqual([...gradients.rows.subarray(0, Number(gradients.rowCount[0]))], [
      ...neurons[0] ?? [],
      ...added,
    ]);
    for (const name of ["dkeys", "dvalues"] as const) {
      const sum = (parts: typeof expected, i: number) =>
        parts.reduce((total, part) => total + (part[name][i] ?? NaN), 0);
      const oracle = Array.from({ length: first.R * first.D }, (_, i) => sum(expected, i));
      assertWithin(
        name,
        scatter(gradients, gradients[name], first),
        oracle,
        (i) => 300 * F32_EPS * sum(size, i),
      );
    }
    return { dkeys: gradients.dkeys, dvalues: gradients.dvalues };
  }, () => {});
});

Deno.test("f32 compute reads both planes, bf16 compute only the high one", () => {
  const call = makeCall({ ...BASE, compute: BF16 }, "normal");
  using lane = new NativeContext();
  const routing = route(lane, call);
  const room = call.T * call.K;
  const without = (planes: Call["keys"]) => ({ ...planes, lo: new Int16Array(planes.lo.length) });
  const bare = { ...call, keys: without(call.keys), values: without(call.values) };
  assert.deepEqual(
    bitsOf(forward(lane, bare, routing, room).y),
    bitsOf(forward(lane, call, routing, room).y),
  );
  const exact = { ...call, compute: F32 }, cut = { ...bare, compute: F32 };
  assert.notDeepEqual(
    bitsOf(forward(lane, cut, routing, room).y),
    bitsOf(forward(lane, exact, routing, room).y),
  );
});

Deno.test("meft_sparse_* name what is wrong", () => {
  using lane = new NativeContext();
  const call = makeCall(BASE, "normal");
  const routing = route(lane, call);
  const routed = (sizes: Partial<Sizes>) => () => route(lane, { ...call, ...sizes });
  assert.throws(routed({ R: 25 }), /neurons is 25, expected a multiple of experts = 4/);
  assert.throws(routed({ active: 5 }), /active_experts is 5, expected 1 to 4/);
  assert.throws(routed({ K: 0 }), /top_k is 0/);
  const experts = routing.experts.slice();
  experts[1] = experts[0] as number;
  assert.throws(
    () => forward(lane, call, { ...routing, experts }, 50),
    /experts\[1\] is \d, expected increasing experts/,
  );
  const fired = forward(lane, call, routing, 50);
  const gradients = new Gradients(call), dy = normals(call.T * call.D, 7);
  const bad = fired.neurons.slice();
  bad[0] = call.R;
  assert.throws(
    () => gradients.add(lane, call, routing, { ...fired, neurons: bad }, dy),
    /sparse_touch: a neuron/,
  );
  gradients.add(lane, call, routing, fired, dy);
  const offsets = fired.offsets.slice();
  offsets[2] = 0;
  assert.throws(
    () => gradients.add(lane, call, routing, { ...fired, offsets }, dy),
    /offsets\[2\] is 0 after/,
  );
  gradients.slots.fill(-1);
  assert.throws(
    () => sparseTouch(lane, gradients.slots, gradients.rows, gradients.rowCount, fired.neurons, 3, call.R),
    /0 neurons have slots, but row_count is \d+/,
  );
});
