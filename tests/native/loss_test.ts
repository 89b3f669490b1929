// SPDX-License-Identifier: Apache-2.0
/** meft_cross_entropy against the f64 reference. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { crossEntropy } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import {
  assertWithin,
  bitsOf,
  F32_EPS,
  guarded,
  misaligned,
  normals,
  onEveryTarget,
} from "./kernel_check.ts";

const SHAPES = [[0, 5], [1, 1], [3, 2], [4, 15], [5, 16], [6, 17], [40, 257], [3, 9973]] as const;

function targetsOf(tokens: number, vocabulary: number): Int32Array {
  return Int32Array.from(
    { length: tokens },
    (_, t) => t % 3 === 2 ? -1 - t : (t * 7919 + vocabulary - 1) % vocabulary,
  );
}

Deno.test("crossEntropy() matches the oracle: loss and gradient, and leaves logits alone at scale 0", () => {
  for (const [tokens, vocabulary] of SHAPES) {
    const logits = normals(tokens * vocabulary, 1, 6);
    const targets = targetsOf(tokens, vocabulary);
    const loss = new Float64Array(tokens), gradient = Float64Array.from(logits);
    referenceKernels().crossEntropy(loss, gradient, targets, vocabulary, 0.37);
    onEveryTarget((lane) => {
      const out = {
        loss: guarded(tokens),
        lossAlone: guarded(tokens),
        gradient: misaligned(logits),
        logits: misaligned(logits),
      };
      crossEntropy(lane, out.loss, out.gradient, targets, tokens, vocabulary, 0.37);
      crossEntropy(lane, out.lossAlone, out.logits, targets, tokens, vocabulary, 0);
      return out;
    }, (out) => {
      // The loss is a difference of numbers of the logits' size, here below 40; e^(x-m) carries |x-m| eps.
      assertWithin("loss", out.loss, loss, () => 4 * F32_EPS * 40);
      assertSame(bitsOf(out.lossAlone), bitsOf(out.loss));
      assertSame(bitsOf(out.logits), bitsOf(logits));
      assertWithin("gradient", out.gradient, gradient, (i) => {
        const isTarget = i % vocabulary === targets[Math.floor(i / vocabulary)];
        // Rounding x-m, which is ln p and a little, is a relative error of |x-m| eps in p.
        const p = Math.abs(gradient[i] as number) / 0.37;
        const factor = 16 + (p > 0 ? Math.abs(Math.log(p)) : 0);
        return factor * F32_EPS * 0.37 * (p + (isTarget ? 1 : 0)) + 2 ** -120;
      });
    });
  }
});

Deno.test("crossEntropy() is safe with large logits, masked logits and NaN", () => {
  const vocabulary = 19;
  const rows = [
    Array(vocabulary).fill(3e38), // would overflow unless the largest is taken off
    Array(vocabulary).fill(-Infinity).with(4, 2), // everything masked but the target: certain
    Array(vocabulary).fill(0).with(18, -Infinity), // a masked target: infinite loss
    Array(vocabulary).fill(1).with(17, NaN),
  ];
  const targets = Int32Array.of(0, 4, 18, 2);
  onEveryTarget((lane) => {
    const out = { loss: guarded(4), logits: misaligned(rows.flat()) };
    crossEntropy(lane, out.loss, out.logits, targets, 4, vocabulary, 1);
    return out;
  }, ({ loss, logits }) => {
    assertWithin("loss", loss.subarray(0, 2), [Math.log(vocabulary), 0], () => 4 * F32_EPS * 3);
    assert.deepEqual([...loss.subarray(2)], [Infinity, NaN]);
    assertWithin("certain row", logits.subarray(19, 38), Array(19).fill(0), () => 0);
    assert.ok(logits.subarray(57).every(Number.isNaN));
  });
});

Deno.test("crossEntropy() gradient matches central differences of its loss", () => {
  const vocabulary = 7, h = 2 ** -8, logits = normals(vocabulary, 2), targets = Int32Array.of(3);
  using lane = new NativeContext({ threads: 1 });
  const lossAt = (i: number, change: number) => {
    const moved = logits.slice(), loss = new Float32Array(1);
    moved[i] = (moved[i] as number) + change;
    crossEntropy(lane, loss, moved, targets, 1, vocabulary, 0);
    return loss[0] as number;
  };
  const differences = Array.from(logits, (_, i) => (lossAt(i, h) - lossAt(i, -h)) / (2 * h));
  const gradient = logits.slice();
  crossEntropy(lane, new Float32Array(1), gradient, targets, 1, vocabulary, 1);
  // Third derivative below 1/6 times h^2, and the loss's rounding over 2h.
  assertWithin("gradient", gradient, differences, () => h * h / 6 + 8 * F32_EPS / h);
});

Deno.test("crossEntropy() refuses a target outside the vocabulary", () => {
  using lane = new NativeContext({ threads: 1 });
  assert.throws(
    () => crossEntropy(lane, new Float32Array(2), new Float32Array(6), Int32Array.of(0, 3), 2, 3, 1),
    /targets\[1\] is 3, expected less than the vocabulary, 3/,
  );
});
