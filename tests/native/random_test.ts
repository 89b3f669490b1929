// SPDX-License-Identifier: Apache-2.0
/** meft_random_normal against lib/core/rng.ts, which states the same function. */
import assert from "node:assert/strict";
import { randomNormal as oracle } from "../../lib/core/rng.ts";
import { randomNormal } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
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
