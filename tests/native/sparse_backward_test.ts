// SPDX-License-Identifier: Apache-2.0
/** meft_sparse_touch and meft_sparse_backward against the equations in f64. */
import { assertWithin } from "../compare.ts";
import assert from "node:assert/strict";
import { F32_EPS, guarded, normals, onEveryTarget } from "./kernel_check.ts";
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
  scatter,
  SCOPES,
  SIZES,
} from "./sparse_check.ts";
import { oracleBackward, oraclePairs, oracleValues } from "./sparse_oracle.ts";

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
