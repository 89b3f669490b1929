// SPDX-License-Identifier: Apache-2.0
/** The benchmark of mixtures of experts: its models, and its verdicts. */
import assert from "node:assert/strict";
import { formatSizes, type ModelSizes, writeCheckpoint } from "../../../scripts/bench/checkpoint.ts";
import { expertTable } from "../../../scripts/bench/report.ts";
import { summarize } from "../../../scripts/bench/statistics.ts";
import { ratiosOf } from "../../../scripts/bench/turns.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";

const SIZES: ModelSizes = {
  ...{ hidden: 64, layers: 1, heads: 1, kvHeads: 1, inner: 8, vocabulary: 16 },
  experts: { count: 5, active: 2 },
};

Deno.test("writeCheckpoint() makes a mixture whose layers have all experts, and whose tokens have the active ones", async () => {
  const parent = await Deno.makeTempDir();
  try {
    const { folder } = await writeCheckpoint(parent, SIZES, "f32", 1);
    using model = openCheckpoint(folder, referenceKernels());
    const [, experts] = model.parts.stacks[0]?.layers[0] ?? [];
    if (experts?.kind !== "experts") throw new Error(`The second sublayer is ${experts?.kind}`);
    assert.equal(experts.experts.length, 5);
    assert.equal(experts.active, 2);
    assert.deepEqual([experts.experts[4]?.gate.rows, experts.experts[4]?.gate.cols], [8, 64]);
    assert.match(formatSizes(SIZES), /2 of 5 experts of 8/);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
});

Deno.test("expertTable() judges the median of the rounds' ratios, not the ratio of medians", () => {
  const one = (ms: number[]) => ({ ms }) as unknown as Parameters<typeof ratiosOf>[0];
  // The machine was half as fast in the second round: medians of times would give 200 / 110.
  const [dense, mixture] = [[100, 200, 110], [120, 240, 200]];
  const ratio = summarize(ratiosOf(one(mixture), one(dense)));
  assert.equal(ratio.median, 1.2);
  const result = { name: "frozen", dtype: "f32" as const, load: 0, ratio };
  const [denseMs, mixtureMs] = [summarize(dense), summarize(mixture)];
  assert.match(expertTable([{ ...result, denseMs, mixtureMs }]), /at most 1\.3 +met/);
  const slow = { ...result, ratio: summarize([1.31]), denseMs, mixtureMs };
  assert.match(expertTable([slow]), /missed/);
});
