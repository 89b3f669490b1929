// SPDX-License-Identifier: Apache-2.0
/** Masks: how many, of what, and that they are functions of seed, epoch, example and place alone. */
import assert from "node:assert/strict";
import { type BatchOptions, makeMicroBatch, stepShapes, trainingSteps } from "../../../lib/data/batches.ts";
import { targetIds } from "../../../lib/data/batch.ts";
import { type Dataset, datasetHash } from "../../../lib/data/dataset.ts";
import { maskExample } from "../../../lib/data/masking.ts";

const MASKING = { maskId: 3, vocabSize: 1000 };
const LENGTHS = [40, 1, 25, 3, 90];

function dataset(): Dataset {
  const offsets = Float64Array.from([
    0,
    ...LENGTHS.map((_, i) => LENGTHS.slice(0, i + 1).reduce((a, b) => a + b)),
  ]);
  const tokens = offsets.at(-1) as number;
  const count = LENGTHS.length;
  return {
    ids: Int32Array.from({ length: tokens }, (_, i) => 10 + i),
    lossMask: Uint8Array.from({ length: tokens }, (_, i) => Number(i % 5 !== 2)),
    offsets,
    files: ["a"],
    fileOf: new Uint32Array(count),
    lineOf: new Uint32Array(count),
    cutOf: new Uint32Array(count),
    seqLen: 100,
    masking: MASKING,
    report: {
      rowsRead: 5,
      rowsUsed: 5,
      badRows: [],
      warnings: [],
      truncatedRows: 0,
      cutTokens: 0,
      tokens,
      targets: 0,
    },
  };
}

Deno.test("maskExample() asks for 15 %, of which 80 % are masked, 10 % replaced and 10 % left", () => {
  const n = 200_000;
  const ids = new Int32Array(n).fill(7);
  const maskable = Uint8Array.from({ length: n }, (_, i) => i % 2);
  const { ids: seen, targets } = maskExample(MASKING, { seed: 1, epoch: 0 }, 0, ids, maskable);
  const asked = [...targets.keys()].filter((i) => targets[i] !== -1);
  assert.ok(
    asked.every((i) => i % 2 === 1 && targets[i] === 7),
    "only what may be asked for, and the token itself",
  );
  assert.ok([...seen.keys()].every((i) => targets[i] !== -1 || seen[i] === 7), "others are left as they are");
  const share = (count: number, of: number, expected: number) => {
    const sigma = Math.sqrt(expected * (1 - expected) / of);
    assert.ok(Math.abs(count / of - expected) < 5 * sigma, `${count / of} of ${expected}`);
  };
  share(asked.length, n / 2, 0.15);
  share(asked.filter((i) => seen[i] === 3).length, asked.length, 0.8 + 0.1 / 1000);
  share(asked.filter((i) => seen[i] === 7).length, asked.length, 0.1 + 0.1 / 1000);
  const others = asked.map((i) => seen[i] as number).filter((id) => id !== 3 && id !== 7);
  assert.ok(
    others.every((id) => id >= 0 && id < 1000) && Math.max(...others) > 950 && Math.min(...others) < 50,
  );
});

Deno.test("a token at least is asked for where any may be, and none where none may", () => {
  for (let example = 0; example < 50; example++) {
    const one = maskExample(
      MASKING,
      { seed: 2, epoch: 0 },
      example,
      Int32Array.of(5, 6, 8),
      Uint8Array.of(0, 1, 1),
    );
    assert.equal(one.targets[0], -1);
    assert.ok(one.targets.some((target) => target >= 0));
  }
  const none = maskExample(MASKING, { seed: 2, epoch: 0 }, 0, Int32Array.of(5), Uint8Array.of(0));
  assert.deepEqual([...none.ids, ...none.targets], [5, -1]);
});

Deno.test("masks change with the epoch and the seed, and are the same from any place on and however steps are cut", () => {
  const data = dataset();
  const steps = (options: Partial<BatchOptions>, count: number, from = { epoch: 0, row: 0 }) => {
    const all = trainingSteps(data, { batchSize: 2, shuffleSeed: 9, ...options }, from);
    return Array.from({ length: count }, () => all.next().value);
  };
  const shown = (found: ReturnType<typeof steps>) =>
    found.map(({ microBatches }) =>
      microBatches.map(({ batch }) => [[...batch.ids].join(), [...targetIds(batch)].join()]).flat()
    );
  const six = steps({}, 6);
  assert.deepEqual(shown(steps({}, 3, six[2]!.next)), shown(six.slice(3)));
  const cut = shown(steps({ microBatchSize: 1 }, 6));
  assert.deepEqual(
    cut.map((step) => step.filter((_, i) => i % 2 === 0).join()),
    shown(six).map(([ids]) => ids),
  );
  const ofExample = (epoch: number, seed: number) =>
    [...targetIds(makeMicroBatch(data, Int32Array.of(4), { seed, epoch }).batch)].join();
  assert.equal(new Set([ofExample(0, 1), ofExample(1, 1), ofExample(0, 2)]).size, 3);
  const shapes = stepShapes(data, { batchSize: 2, shuffleSeed: 9 });
  for (const { targetCount } of six) {
    assert.equal(shapes.next().value.reduce((sum, { targets }) => sum + targets, 0), targetCount);
  }
  assert.notEqual(datasetHash(data), datasetHash({ ...data, masking: { ...MASKING, maskId: 4 } }));
});
