// SPDX-License-Identifier: Apache-2.0
/** Outputs of a head for a whole data set, and intervals of their scores. */
import assert from "node:assert/strict";
import type { Dataset, ExampleLabels } from "../../../lib/data/dataset.ts";
import { datasetOutputs, estimateScores, type OutputScoring } from "../../../lib/evaluate/outputs.ts";
import { datasetLoss } from "../../../lib/evaluate/loss.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { taskOf } from "../../../lib/tasks/registry.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { assertWithin } from "../../compare.ts";

const { dir, batch, expected } = checkpointFixture("heads/llama_labels");

function dataset(): Dataset {
  const count = batch.starts.length - 1;
  const { targets } = batch;
  assert.ok(targets.kind === "classes");
  return {
    ids: batch.ids,
    lossMask: new Uint8Array(batch.ids.length),
    offsets: Float64Array.from(batch.starts),
    files: ["a"],
    fileOf: new Uint32Array(count),
    lineOf: Uint32Array.from({ length: count }, (_, i) => i + 1),
    cutOf: new Uint32Array(count),
    seqLen: 32,
    labels: { kind: "classes", of: targets.labels, names: ["negative", "neutral", "positive"] },
    report: {
      rowsRead: count,
      rowsUsed: count,
      badRows: [],
      warnings: [],
      truncatedRows: 0,
      cutTokens: 0,
      tokens: 29,
      targets: count,
    },
  };
}

function scoringOf(name: string): OutputScoring {
  const { scoring } = taskOf(name, { head: { kind: "lm" }, takes: "tokens" });
  assert.ok(scoring.by === "outputs");
  return scoring;
}

Deno.test("datasetOutputs() gives every example's outputs and the mean loss, however many are computed at once", async () => {
  using model = openCheckpoint(dir, referenceKernels());
  const data = dataset();
  for (const microBatchSize of [1, 3, 8]) {
    const found = await datasetOutputs(model, data, { microBatchSize });
    assert.deepEqual(found.outputs.shape, [4, 3]);
    assertWithin("outputs", found.outputs.data, expected("outputs"), 1e-9);
    assertWithin("loss", [found.loss], [(expected("loss")[0] as number) / 4], 1e-9);
    assert.equal(found.loss, (await datasetLoss(model, data, { microBatchSize })).loss);
  }
});

Deno.test("estimateScores() has the score of all rows, and an interval of the same rows and labels drawn together", () => {
  const count = 200;
  const labels: ExampleLabels = {
    kind: "classes",
    of: Int32Array.from({ length: count }, (_, i) => i % 2),
    names: ["no", "yes"],
  };
  // Right but for each tenth.
  const data = Float64Array.from({ length: 2 * count }, (_, at) => {
    const row = at >> 1;
    return Number((at & 1) === (row % 10 === 0 ? 1 - row % 2 : row % 2));
  });
  const scores = estimateScores(scoringOf("classification"), ["accuracy", "matthews"], labels, {
    shape: [count, 2],
    data,
  });
  const { mean, low, high, count: rows } = scores.get("accuracy")!;
  assert.deepEqual([mean, rows], [0.9, 200]);
  assert.ok(low > 0.82 && low < 0.88 && high > 0.92 && high < 0.97, `${low} to ${high}`);
  const drawn = scores.get("matthews")!;
  assertWithin("matthews", [drawn.mean], [Math.sqrt(2 / 3)], 1e-12);
  assert.ok(
    drawn.low > 0.65 && drawn.low < 0.77 && drawn.high > 0.83 && drawn.high < 0.93,
    JSON.stringify(drawn),
  );
  const again = estimateScores(scoringOf("classification"), ["matthews"], labels, {
    shape: [count, 2],
    data,
  });
  assert.deepEqual(again.get("matthews"), drawn);
});

Deno.test("a score that is not defined has no interval, and one of values is a correlation", () => {
  const of = Float64Array.of(1, 2, 3, 4);
  const scores = (values: number[]) =>
    estimateScores(scoringOf("regression"), ["pearson"], { kind: "values", of }, {
      shape: [4, 1],
      data: Float64Array.from(values),
    }).get("pearson");
  assertWithin("pearson", [scores([2, 4, 6, 8])?.mean ?? NaN], [1], 1e-12);
  assert.ok(Number.isNaN(scores([5, 5, 5, 5])?.mean));
});
