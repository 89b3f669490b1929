// SPDX-License-Identifier: Apache-2.0
/** Batches: nothing lost or repeated, targets shifted by one, and any position resumes. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { assertSame } from "../../compare.ts";
import {
  type BatchOptions,
  countSteps,
  type DataPosition,
  makeMicroBatch,
  type MicroBatchShape,
  sequentialBatches,
  sequentialShapes,
  type StepData,
  stepShapes,
  trainingSteps,
} from "../../../lib/data/batches.ts";
import { permutation } from "../../../lib/core/rng.ts";
import { type Dataset, DatasetBuilder, exampleCount, exampleLength } from "../../../lib/data/dataset.ts";
import { targetIds } from "../../../lib/data/batch.ts";

/** Examples of these lengths; token ids are unique, every third is no target. */
function dataset(lengths: readonly number[], seqLen = 16): Dataset {
  const builder = new DatasetBuilder(["x"]);
  let id = 0;
  lengths.forEach((length, i) => {
    const ids = Array.from({ length }, () => id++);
    const lossMask = ids.map((x, at) => at > 0 && x % 3 !== 0 ? 1 : 0);
    builder.add({ ids: Int32Array.from(ids), lossMask: Uint8Array.from(lossMask), cutTokens: 0 }, {
      file: "x",
      line: i + 1,
    });
  });
  return builder.finish(seqLen, {
    rowsRead: lengths.length,
    rowsUsed: lengths.length,
    badRows: [],
    warnings: [],
  });
}

function take(data: Dataset, options: BatchOptions, count: number, from?: DataPosition): StepData[] {
  const steps: StepData[] = [];
  for (const step of trainingSteps(data, options, from)) {
    steps.push(step);
    if (steps.length === count) break;
  }
  return steps;
}

const examplesOf = (steps: readonly StepData[]): number[] =>
  steps.flatMap((step) => step.microBatches.flatMap((micro) => [...micro.examples]));

Deno.test("makeMicroBatch() lays sequences out without padding, each token's target the next one of its own", () => {
  const data = dataset([3, 1, 4]);
  const { batch, examples } = makeMicroBatch(data, Int32Array.of(2, 0, 1));
  assert.deepEqual([...examples], [2, 0, 1]);
  assert.deepEqual([...batch.ids], [4, 5, 6, 7, 0, 1, 2, 3]);
  assert.deepEqual([...batch.positions], [0, 1, 2, 3, 0, 1, 2, 0]);
  assert.deepEqual([...batch.starts], [0, 4, 7, 8]);
  assert.deepEqual([...targetIds(batch)], [5, -1, 7, -1, 1, 2, -1, -1]);
  assert.equal(batch.targetCount, 4);
});

Deno.test("trainingSteps() cuts steps into micro-batches and keeps or drops a smaller last step", () => {
  const data = dataset([2, 2, 2, 2, 2, 2, 2]);
  const options: BatchOptions = { batchSize: 5, microBatchSize: 2, shuffleSeed: null };
  const kept = take(data, options, 3);
  assert.deepEqual(kept.map((step) => step.microBatches.map((micro) => [...micro.examples])), [
    [[0, 1], [2, 3], [4]],
    [[5, 6]],
    [[0, 1], [2, 3], [4]],
  ]);
  assert.deepEqual(kept.map((step) => step.next), [{ epoch: 0, row: 5 }, { epoch: 1, row: 0 }, {
    epoch: 1,
    row: 5,
  }]);
  assert.deepEqual(kept.map((step) => step.tokenCount), [10, 4, 10]);
  const dropped = take(data, { ...options, lastStep: "drop" }, 2);
  assert.deepEqual(dropped.map((step) => step.next), [{ epoch: 1, row: 0 }, { epoch: 2, row: 0 }]);
  const only = take(data, { ...options, batchSize: 9, lastStep: "drop" }, 1);
  assert.equal(examplesOf(only).length, 7, "a last step that is the only one is kept");
  assert.deepEqual([1, 2, 3].map((epochs) => countSteps(data, options, epochs)), [2, 4, 6]);
  assert.equal(countSteps(data, { ...options, lastStep: "drop" }, 3), 3);
  assert.equal(countSteps(data, options, 1e12), 2e12);
  assert.throws(() => countSteps(data, { ...options, rows: "packing" }, 1e12), {
    name: "UserError",
    message: /the steps of 1000000000000 epochs of \d+ examples cannot be counted: say --steps instead/,
  });
});

const lengths = fc.array(fc.integer({ min: 2, max: 16 }), { minLength: 1, maxLength: 40 });
const batchOptions: fc.Arbitrary<BatchOptions> = fc.record({
  batchSize: fc.integer({ min: 1, max: 9 }),
  microBatchSize: fc.integer({ min: 1, max: 10 }),
  rows: fc.constantFrom("padding" as const, "packing" as const),
  shuffleSeed: fc.option(fc.nat(1000)),
});

Deno.test("trainingSteps() gives every example of an epoch once, packed or not", () => {
  fc.assert(
    fc.property(lengths, batchOptions, (sizes, options) => {
      const data = dataset(sizes);
      const count = countSteps(data, options, 2);
      const steps = take(data, options, count);
      assert.deepEqual(steps.at(-1)?.next, { epoch: 2, row: 0 });
      const order = examplesOf(steps);
      const all = sizes.map((_, i) => i);
      assert.deepEqual(order.slice(0, sizes.length).sort((a, b) => a - b), all);
      assert.deepEqual(order.slice(sizes.length).sort((a, b) => a - b), all);
      const targets = steps.reduce((sum, step) => sum + step.targetCount, 0);
      assert.equal(targets, 2 * data.report.targets);
    }),
    { seed: 6 },
  );
});

Deno.test("trainingSteps() packs rows of at most seqLen tokens, none of which fits into an earlier row", () => {
  fc.assert(
    fc.property(lengths, fc.nat(1000), (sizes, shuffleSeed) => {
      const data = dataset(sizes);
      const options: BatchOptions = { batchSize: 1, rows: "packing", shuffleSeed };
      const rows = take(data, options, countSteps(data, options, 1)).map((step) => examplesOf([step]));
      const used = rows.map((row) => row.reduce((sum, example) => sum + exampleLength(data, example), 0));
      used.forEach((tokens) => assert(tokens <= 16));
      rows.forEach((row, r) => {
        const first = exampleLength(data, row[0] as number);
        used.slice(0, r).forEach((tokens) => assert(tokens + first > 16, "first fit"));
      });
    }),
    { seed: 7 },
  );
});

Deno.test("trainingSteps() resumes at any position with the same batches", () => {
  fc.assert(
    fc.property(lengths, batchOptions, fc.nat(20), (sizes, options, done) => {
      const data = dataset(sizes);
      const straight = take(data, options, done + 4);
      const position = done === 0 ? undefined : straight[done - 1]?.next;
      assertSame(take(data, options, 4, position), straight.slice(done));
    }),
    { seed: 8 },
  );
});

Deno.test("trainingSteps() shuffles by seed and epoch", () => {
  const data = dataset(Array(50).fill(2));
  const order = (shuffleSeed: number) => examplesOf(take(data, { batchSize: 50, shuffleSeed }, 2));
  assert.deepEqual(order(1), order(1));
  assert.notDeepEqual(order(1), order(2));
  assert.notDeepEqual(order(1).slice(0, 50), order(1).slice(50));
});

Deno.test("the order of an epoch is the permutation of seed and epoch, seed 0 included", () => {
  const data = dataset(Array(50).fill(2));
  const orders = [[0, 0], [0, 1], [1, 0], [1, 1], [2, 1], [1, 2]].map(([shuffleSeed, epoch]) => {
    const options: BatchOptions = { batchSize: 50, shuffleSeed: shuffleSeed as number };
    const order = examplesOf(take(data, options, 1, { epoch: epoch as number, row: 0 }));
    assertSame(Int32Array.from(order), permutation(shuffleSeed as number, epoch as number, 50));
    return order.join();
  });
  assert.equal(
    new Set([...orders, examplesOf(take(data, { batchSize: 50, shuffleSeed: null }, 1)).join()]).size,
    7,
  );
});

Deno.test("packing puts an example into the first row with room, not the last, and looks at 512 at a time", () => {
  const rows = (sizes: number[]) => {
    const data = dataset(sizes);
    const options: BatchOptions = { batchSize: 1, rows: "packing", shuffleSeed: null };
    return take(data, options, countSteps(data, options, 1)).map((step) => examplesOf([step]));
  };
  assert.deepEqual(rows([10, 9, 6, 7]), [[0, 2], [1, 3]]);
  assert.deepEqual(rows([10, 9, 5, 6]), [[0, 2], [1, 3]]);
  assert.deepEqual(rows([10, 9, 5, 8]), [[0, 2], [1], [3]]);
  const far = rows([10, ...Array(511).fill(16), 6, 9]);
  assert.deepEqual([far.length, far[0], far.at(-1)], [513, [0], [512, 513]], "513 is of the next window");
  const near = rows([10, ...Array(510).fill(16), 6]);
  assert.deepEqual([near.length, near[0]], [511, [0, 511]]);
});

Deno.test("the first token of an example is never a target, whatever its mask says", () => {
  const builder = new DatasetBuilder(["x"]);
  for (const line of [1, 2]) {
    builder.add({ ids: Int32Array.of(5, 6, 7), lossMask: Uint8Array.of(1, 1, 1), cutTokens: 0 }, {
      file: "x",
      line,
    });
  }
  const data = builder.finish(16, { rowsRead: 2, rowsUsed: 2, badRows: [], warnings: [] });
  const { batch } = makeMicroBatch(data, Int32Array.of(0, 1));
  assert.deepEqual([...targetIds(batch)], [6, 7, -1, 6, 7, -1]);
  assert.equal(batch.targetCount, 4);
  assert.equal([...sequentialShapes(data, 2)][0]?.targets, 4);
});

Deno.test("without a size of micro-batches a step is one, and a position at its epoch's end goes on with the next", () => {
  const data = dataset([2, 2, 2, 2, 2]);
  const options: BatchOptions = { batchSize: 3, shuffleSeed: null };
  const micro = (steps: readonly StepData[]) =>
    steps.map((step) => step.microBatches.map(({ examples }) => [...examples]));
  assert.deepEqual(micro(take(data, options, 2)), [[[0, 1, 2]], [[3, 4]]]);
  assert.deepEqual(stepShapes(data, options).next().value.length, 1);
  const [next] = take(data, options, 1, { epoch: 4, row: 5 });
  assert.deepEqual(next?.next, { epoch: 5, row: 3 });
});

Deno.test("trainingSteps() packs beyond one window without losing an example", () => {
  const sizes = Array.from({ length: 1100 }, (_, i) => 2 + i % 7);
  const data = dataset(sizes);
  const options: BatchOptions = { batchSize: 64, rows: "packing", shuffleSeed: 1 };
  const steps = take(data, options, countSteps(data, options, 1));
  assert.equal(new Set(examplesOf(steps)).size, 1100);
  const rows = steps.at(-2)?.next.row as number;
  const full = sizes.reduce((a, b) => a + b) / 16;
  assert(rows < full * 1.1, `${rows} rows for ${full} rows' worth of tokens`);
});

Deno.test("trainingSteps() refuses sizes and positions that make no sense", () => {
  const data = dataset([2, 2]);
  const options: BatchOptions = { batchSize: 2, shuffleSeed: 1 };
  assert.throws(() => take(data, { ...options, batchSize: 0 }, 1), /batchSize is 0/);
  assert.throws(() => take(data, { ...options, microBatchSize: 1.5 }, 1), /microBatchSize is 1\.5/);
  assert.throws(() => take(data, options, 1, { epoch: 0, row: 3 }), /position's row is 3/);
  assert.throws(() => take(dataset([]), options, 1), /no examples/);
});

Deno.test("sequentialBatches() gives every example in order", () => {
  const data = dataset([2, 3, 4, 5, 6]);
  const batches = [...sequentialBatches(data, 2)];
  assert.deepEqual(batches.map(({ examples }) => [...examples]), [[0, 1], [2, 3], [4]]);
  assert.equal(batches.reduce((sum, { batch }) => sum + batch.targetCount, 0), data.report.targets);
  assert.equal(exampleCount(data), 5);
});

/** Of a micro-batch, counted from its arrays. */
function shapeOf({ batch }: StepData["microBatches"][number]): MicroBatchShape {
  const { ids, starts } = batch;
  const lengths = Array.from(starts.subarray(1), (end, i) => end - (starts[i] as number));
  return {
    tokens: ids.length,
    targets: targetIds(batch).filter((target) => target >= 0).length,
    pairs: lengths.reduce((sum, n) => sum + n * (n + 1) / 2, 0),
    longest: Math.max(0, ...lengths),
    sourceTokens: 0,
  };
}

Deno.test("stepShapes() and sequentialShapes() are the sizes of the batches that are made", () => {
  const data = dataset(Array.from({ length: 37 }, (_, i) => 1 + (i * 5) % 16));
  for (const rows of ["padding", "packing"] as const) {
    for (const lastStep of ["keep", "drop"] as const) {
      const options = { batchSize: 6, microBatchSize: 4, rows, lastStep, shuffleSeed: 3 };
      const steps = take(data, options, 20);
      const shapes = stepShapes(data, options);
      for (const { microBatches } of steps) {
        assert.deepEqual(shapes.next().value, microBatches.map(shapeOf), `${rows}, ${lastStep}`);
      }
    }
  }
  assert.deepEqual([...sequentialShapes(data, 5)], [...sequentialBatches(data, 5)].map(shapeOf));
});
