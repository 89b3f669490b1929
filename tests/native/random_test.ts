// SPDX-License-Identifier: Apache-2.0
/** meft_random_normal and meft_dropout_apply against lib/core/rng.ts, which states the same functions. */
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import assert from "node:assert/strict";
import { dropout, randomNormal as oracle } from "../../lib/core/rng.ts";
import { dropoutApply, randomNormal } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { type DropoutParams, writeDropoutParams } from "../../lib/native/structs.ts";
import { assertWithin, F32_EPS, guarded, onEveryTarget } from "./kernel_check.ts";

Deno.test("randomNormal() equals lib/core/rng.ts for any seed, stream and count", () => {
  for (const [seed, stream] of [[0, 0], [7, 3], [0xffffffff, 0xdeadbeef]] as const) {
    for (const count of [0, 1, 2, 3, 5, 4096, 9001]) {
      const expected = new Float64Array(count);
      oracle(expected, seed, stream, 0.75);
      onEveryTarget((lane) => {
        const out = { out: guarded(count) };
        randomNormal(lane, out.out, count, seed, stream, 0.75);
        return out;
      }, ({ out }) => {
        // Both sides compute in f64; what is left is the rounding to f32.
        assertWithin("out", out, expected, (i) => 1.001 * F32_EPS * Math.abs(expected[i] as number));
      });
    }
  }
});

Deno.test("randomNormal() refuses a negative or infinite std", () => {
  using lane = new NativeContext({ threads: 1 });
  for (const std of [-1, Infinity]) {
    assert.throws(() => randomNormal(lane, new Float32Array(1), 1, 0, 0, std), /random_normal: std is/);
  }
});

const MASK = { seed: 0xffffffff, stream: 0xdeadbeef, part: 31, first: 5, probability: 0.25 };

Deno.test("dropoutApply() equals lib/core/rng.ts for any place, count and probability, in place too", () => {
  for (
    const mask of [MASK, { ...MASK, first: 2 ** 40 + 2, part: 0 }, { ...MASK, first: 0, probability: 0 }]
  ) {
    for (const count of [0, 1, 2, 3, 63, 64, 65, 4096, 9001]) {
      const x = new Float32Array(count);
      oracle(x, 1, 2, 1);
      const expected = new Float64Array(count);
      dropout(expected, Float64Array.from(x), mask, false);
      onEveryTarget((lane) => {
        const out = { out: guarded(count) };
        out.out.set(x);
        const params = writeDropoutParams({ ...mask, accumulate: 0, yDtype: MEFT_F32, xDtype: MEFT_F32 });
        dropoutApply(lane, out.out, out.out, count, params);
        return out;
      }, ({ out }) => {
        // 1 / (1 - p) and the product are rounded to f32; what is taken away is exactly 0.
        assertWithin("out", out, expected, (i) => 2 * F32_EPS * Math.abs(expected[i] as number));
      });
    }
  }
});

Deno.test("dropoutApply() refuses masks without a place or with nothing left", () => {
  using lane = new NativeContext({ threads: 1 });
  const call = (change: Partial<DropoutParams>) => () =>
    dropoutApply(
      lane,
      new Float32Array(1),
      new Float32Array(1),
      1,
      writeDropoutParams({ ...MASK, accumulate: 0, yDtype: MEFT_F32, xDtype: MEFT_F32, ...change }),
    );
  assert.throws(call({ probability: 1 }), /dropout_apply: probability is 1, expected from 0 to below 1/);
  assert.throws(call({ probability: -0.1 }), /probability is -0.1/);
  assert.throws(call({ first: -1 }), /dropout_apply: first is -1/);
  assert.throws(call({ first: 2n ** 63n - 1n }), /first is 9223372036854775807/);
});
