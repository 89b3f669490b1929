// SPDX-License-Identifier: Apache-2.0
/** meft_sparse_route and _forward against the equations in f64: sizes that cross every block, ties, modes, refusals. */
import assert from "node:assert/strict";
import { assertSame, assertSameBits, assertWithin } from "../compare.ts";
import { sparseTouch } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { bitsOf, F32_EPS, normals, onEveryTarget } from "./kernel_check.ts";
import {
  BASE,
  BF16,
  type Call,
  F32,
  forward,
  GATES,
  Gradients,
  makeCall,
  route,
  SCOPES,
  SIZES,
  type Sizes,
} from "./sparse_check.ts";
import { type OraclePair, oraclePairs, oracleRoute, oracleValues } from "./sparse_oracle.ts";

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

Deno.test("sparseForward() and sparseBackward() give a token the same bits whatever other tokens are in the call", () => {
  const sizes = [{ gate: "raw", N: 4, D: 600 }, { gate: "softmax", N: 16, D: 37 }, {
    gate: "sigmoid",
    N: 16,
    D: 37,
  }];
  for (
    const { compute, ...others } of sizes.flatMap((size) =>
      [F32, BF16].map((compute) => ({ ...size, compute }))
    )
  ) {
    // 300 tokens of 16 experts have more gate factors than a task takes.
    const whole = makeCall({ ...BASE, compute, ...others as Partial<Sizes>, T: 300, R: 64, K: 6 }, "normal");
    const dy = normals(whole.T * whole.D, 7);
    onEveryTarget((lane) => {
      const both = (begin: number, end: number) => {
        const [h, upstream] = [whole.h, dy].map((x) => x.slice(begin * whole.D, end * whole.D)) as [
          Float32Array<ArrayBuffer>,
          Float32Array<ArrayBuffer>,
        ];
        const part = { ...whole, T: end - begin, h };
        const routing = route(lane, part);
        const fired = forward(lane, part, routing, 300 * 6);
        return { y: fired.y, dh: new Gradients(part).add(lane, part, routing, fired, upstream).dh };
      };
      const all = both(0, 300);
      const parts = [[0, 113], [113, 114], [114, 300]].map(([begin = 0, end = 0]) => both(begin, end));
      for (const name of ["y", "dh"] as const) {
        assertSameBits(name, Float32Array.from(parts.flatMap((part) => [...part[name]])), all[name]);
      }
      return { ...all };
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
        onEveryTarget(
          (lane) => {
            const { y } = forward(lane, broken, route(lane, broken), 5 * call.R);
            rows.push(
              Array.from(
                { length: 5 },
                (_, t) => y.subarray(t * call.D, (t + 1) * call.D).every(Number.isNaN),
              ),
            );
            return { y };
          },
          () => {},
        );
        return rows;
      };
      const h = call.h.slice();
      h[3 * call.D + 5] = NaN;
      for (const rows of nanRows({ h })) assert.deepEqual(rows, [false, false, false, true, false]);
      const gateWeight = call.gateWeight.slice();
      gateWeight[0] = NaN; // NaN never wins a comparison, so no token selects this expert
      for (const rows of nanRows({ gateWeight })) assert.deepEqual(rows, [true, true, true, true, true]);
      onEveryTarget(
        (lane) => {
          const { experts, load } = route(lane, { ...call, gateWeight });
          assert.ok(!experts.includes(0), "an expert of NaN is chosen");
          assert.equal(load[0], 0);
          return {};
        },
        () => {},
      );
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

Deno.test("f32 compute reads both planes, bf16 compute only the high one", () => {
  const call = makeCall({ ...BASE, compute: BF16 }, "normal");
  using lane = new NativeContext();
  const routing = route(lane, call);
  const room = call.T * call.K;
  const without = (planes: Call["keys"]) => ({ ...planes, lo: new Int16Array(planes.lo.length) });
  const bare = { ...call, keys: without(call.keys), values: without(call.values) };
  assertSame(
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
