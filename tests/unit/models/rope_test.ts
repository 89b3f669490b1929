// SPDX-License-Identifier: Apache-2.0
/** Rotary frequencies at the bounds of each scaling, and tables where a sequence crosses one. */
import assert from "node:assert/strict";
import type { RopeScaling, Rotary } from "../../../lib/models/rotary.ts";
import { createRopeCache, ropeFrequencies, ropeTableBytes, ropeTableRows } from "../../../lib/models/rope.ts";
import { heldBytes } from "../../../lib/native/ledger.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertSameBits, assertWithin } from "../../compare.ts";

const YARN = {
  ...{ type: "yarn", factor: 4, attentionFactor: null, betaFast: 32, betaSlow: 1 } as const,
  ...{ mscale: null, mscaleAllDim: null, truncate: true },
};
const LLAMA3 = {
  ...{ type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4 } as const,
  originalMaxPositionEmbeddings: 64,
};
const LONGROPE = {
  ...{ type: "longrope", factor: 4, attentionFactor: null, originalMaxPositionEmbeddings: 16 } as const,
  ...{ shortFactor: [1, 1.1, 1.2, 1.3], longFactor: [2, 2.5, 3, 4] },
};
const DYNAMIC = { type: "dynamic", factor: 2, originalMaxPositionEmbeddings: 8 } as const;
const LINEAR = { type: "linear", factor: 4 } as const;

/** What transformers 5 computes, by name: scaling, theta, length, head size, frequencies, factor on cos and sin. */
const EXPECTED: Readonly<
  Record<string, readonly [RopeScaling | null, number, number, readonly number[], number]>
> = {
  "no scaling": [null, 10000, 99, [1, 0.1, 0.01, 0.001], 1],
  "linear": [LINEAR, 10000, 99, [0.25, 0.025, 0.0025, 0.00025], 1],
  "dynamic up to the full length": [DYNAMIC, 10000, 8, [1, 0.1, 0.01, 0.001], 1],
  "dynamic one token beyond": [DYNAMIC, 10000, 9, [1, 0.0928317755, 0.0086177392, 0.0008], 1],
  "dynamic at twice the length": [DYNAMIC, 10000, 16, [1, 0.0693361238, 0.0048074983, 0.0003333333], 1],
  // Its slowest pair would turn once at pair 11.4: the ramp ends at 7, the last number of a head less one.
  "yarn beyond its upper bound": [
    { ...YARN, originalMaxPositionEmbeddings: 32768, betaFast: 5000 },
    ...[20, 1, [1, 0.422206074, 0.1756910533, 0.0717501864], 1.1386294361] as const,
  ],
  "yarn beyond its upper bound, not in whole pairs": [
    { ...YARN, originalMaxPositionEmbeddings: 32768, betaFast: 5000, truncate: false },
    ...[20, 1, [1, 0.4246692062, 0.1766616702, 0.0721173773], 1.1386294361] as const,
  ],
  "yarn of an empty ramp": [
    { ...YARN, originalMaxPositionEmbeddings: 64, betaFast: 1, truncate: false },
    ...[10000, 1, [1, 0.1, 0.0025, 0.00025], 1.1386294361] as const,
  ],
  "yarn below its lower bound, with two scales": [
    { ...YARN, originalMaxPositionEmbeddings: 64, mscale: 0.7, mscaleAllDim: 1.3 },
    ...[10000, 1, [1, 0.0625, 0.0025, 0.00025], 0.9295234924] as const,
  ],
  "yarn of factor 1": [
    { ...YARN, originalMaxPositionEmbeddings: 64, factor: 1 },
    ...[10000, 1, [1, 0.1, 0.01, 0.001], 1] as const,
  ],
  "yarn with a factor given": [
    { ...YARN, originalMaxPositionEmbeddings: 64, attentionFactor: 0 },
    ...[10000, 1, [1, 0.0625, 0.0025, 0.00025], 0] as const,
  ],
  "llama3, fast pairs, slow ones and those between": [LLAMA3, 100, 1, [
    ...[1, 0.5623413324, 0.2443845868, 0.0643098727],
    ...[0.0130422562, 0.0070292661, 0.0039528473, 0.0022228493],
  ], 1],
  "longrope up to the original length": [
    LONGROPE,
    ...[100, 16, [1, 0.2874797583, 0.0833333358, 0.0243252143], 1.2247448714] as const,
  ],
  "longrope one token beyond": [
    LONGROPE,
    ...[100, 17, [0.5, 0.1264911145, 0.0333333351, 0.0079056947], 1.2247448714] as const,
  ],
  "longrope of factor 1": [
    { ...LONGROPE, factor: 1 },
    ...[100, 16, [1, 0.2874797583, 0.0833333358, 0.0243252143], 1] as const,
  ],
  "the first pairs of a proportional one": [
    { type: "proportional", factor: 2, partialRotaryFactor: 0.5 },
    ...[10000, 1, [0.5, 0.05, 0, 0], 1] as const,
  ],
};

for (const [name, [ropeScaling, ropeTheta, length, frequencies, factor]] of Object.entries(EXPECTED)) {
  Deno.test(`ropeFrequencies() of ${name} are those of transformers`, () => {
    const rotaryDim = 2 * frequencies.length;
    const { inverse, attentionFactor } = ropeFrequencies({ rotaryDim, ropeTheta, ropeScaling }, length);
    assertWithin("frequencies", inverse, frequencies, 1e-7);
    assertWithin("factor", [attentionFactor], [factor], 1e-9);
  });
}

/** Of heads of 8. */
const rotaryOf = (ropeScaling: RopeScaling | null, maxPositionEmbeddings: number): Rotary => {
  return { rotaryDim: 8, ropeTheta: 100, ropeScaling, maxPositionEmbeddings };
};

/** Positions and starts of whole sequences. */
function sequences(...lengths: number[]): readonly [Int32Array, Int32Array] {
  const positions = lengths.flatMap((length) => Array.from({ length }, (_, t) => t));
  return [
    Int32Array.from(positions),
    Int32Array.from([0, ...lengths.map((_, s) => sum(lengths.slice(0, s + 1)))]),
  ];
}
const sum = (values: readonly number[]) => values.reduce((total, x) => total + x, 0);

for (const [ropeScaling, bound] of [[DYNAMIC, 8], [LONGROPE, 16], [LINEAR, 64], [null, 64]] as const) {
  Deno.test(`rows of ${ropeScaling?.type ?? "no"} scaling turn by each sequence's own length, up to ${bound} tokens and beyond`, () => {
    const k = referenceKernels();
    const rotary = rotaryOf(ropeScaling, ropeScaling === LONGROPE ? 64 : bound);
    using cache = createRopeCache(k, rotary);
    // Alone and side by side; the longest first and last, so that tables grow and stay.
    const batches = [[bound], [3, bound + 1, bound, 2], [bound + 1], [1], [bound - 1, 2 * bound], [
      bound,
      bound + 5,
    ]];
    for (const lengths of batches) {
      const [positions, starts] = sequences(...lengths);
      const { tables, rows } = cache.rowsFor(positions, starts);
      positions.forEach((position, t) => {
        const s = starts.findIndex((start, i) => i > 0 && t < start) - 1;
        const { inverse, attentionFactor } = ropeFrequencies(rotary, lengths[s] as number);
        const [row, width] = [rows[t] as number, inverse.length];
        assert.ok(row < tables.rows, "a row of the tables");
        for (const [table, turn] of [[tables.cos, Math.cos], [tables.sin, Math.sin]] as const) {
          const expected = inverse.map((w) => turn(position * w) * attentionFactor);
          assertSameBits(
            `token ${t} of ${lengths}`,
            table.subarray(row * width, (row + 1) * width),
            expected,
          );
        }
      });
    }
  });
}

Deno.test("ropeTableRows() are the next power of two, at least 64, at most what the longest sequence needs", () => {
  const rows = (length: number, max: number, ropeScaling: RopeScaling | null = null) =>
    ropeTableRows({ maxPositionEmbeddings: max, ropeScaling }, length);
  assert.deepEqual([0, 1, 64, 65, 128, 129].map((length) => rows(length, 1000)), [0, 64, 64, 128, 128, 256]);
  assert.deepEqual([1, 100, 101].map((length) => rows(length, 100)), [64, 100, 101]);
  // Those of short sequences come first, once there is a long one.
  assert.deepEqual([16, 17, 48, 49].map((length) => rows(length, 64, LONGROPE)), [64, 64, 64, 80]);
});

Deno.test("tables are booked as workspace while they are held, at what ropeTableBytes() says", () => {
  const k = referenceKernels();
  const rotary = rotaryOf(LONGROPE, 64);
  {
    using cache = createRopeCache(k, rotary);
    assert.equal(heldBytes(k.ledger), 0);
    for (const length of [16, 17, 64, 5]) {
      cache.rowsFor(...sequences(length));
      const rows = ropeTableRows(rotary, length === 5 ? 64 : length);
      assert.equal(k.ledger.held.get("workspace"), ropeTableBytes(rotary, rows, 8));
      assert.equal(ropeTableBytes(rotary, rows, 8), rows * 8 * 8);
    }
  }
  assert.equal(heldBytes(k.ledger), 0);
});
