// SPDX-License-Identifier: Apache-2.0
/** Whether a run fits, to the byte, what would, and how large the micro-batches of real data are. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { plannedBatches } from "../../../lib/predict/batch_sizes.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { judgeFit, largest, neededBytes } from "../../../lib/predict/fit.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import type { SavedAdapter } from "../../../lib/adapters/files/saved_adapter.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { SETTINGS } from "../../../lib/train/setting_table.ts";
import { assertWithin } from "../../compare.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "../train/small_run.ts";
import { targetIds } from "../../../lib/data/batch.ts";

const RUN: RunOptions = { batch: { size: 8, micro: 8, seqLen: 64 } };

Deno.test("judgeFit() says that a run fits into what it needs, to the byte, and when the weights stay too", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions(RUN));
  const memory = await predictMemory(run);
  const { residentBytes } = memory;
  const needed = neededBytes(memory);
  const { weights, ...others } = residentBytes;
  assert.equal(needed, Object.values(others).reduce((a, b) => a + b));
  assert.ok((weights as number) > 0);
  const all = needed + (weights as number);
  const judged = (bytes: number) => judgeFit(run, memory, bytes);
  for (
    const [bytes, fits, weightsStay] of [
      [all, true, true],
      [all - 1, true, false],
      [needed, true, false],
      [needed - 1, false, false],
    ] as const
  ) {
    const fit = await judged(bytes);
    assert.deepEqual([fit.fits, fit.weightsStay, fit.neededBytes, fit.availableBytes], [
      fits,
      weightsStay,
      needed,
      bytes,
    ]);
    assert.equal(fit.advice === null, fits);
  }
});

/** A change of settings, and the flags that it is advised by. */
const ADVICE: readonly (readonly [RunOptions, Readonly<Record<string, unknown>>])[] = [
  [{ batch: { size: 8, micro: 7, seqLen: 64 } }, { "micro-batch-size": 7 }],
  [{ batch: { size: 8, micro: 5, seqLen: 64 } }, { "micro-batch-size": 5 }],
  [{ batch: { size: 8, micro: 1, seqLen: 64 } }, { "micro-batch-size": 1 }],
  [{ batch: { size: 8, micro: 1, seqLen: 64 }, activations: "recompute" }, {
    "micro-batch-size": 1,
    activations: "recompute",
  }],
  [
    {
      batch: { size: 8, micro: 1, seqLen: 64 },
      activations: "recompute",
      method: sparse({ ...SMALL_SPARSE, neurons: 24 }),
    },
    { "micro-batch-size": 1, activations: "recompute", neurons: 24 },
  ],
];

Deno.test("judgeFit() advises the mildest change that fits, exactly", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions(RUN));
  const memory = await predictMemory(run);
  const of = async (options: RunOptions) =>
    neededBytes(await predictMemory(plan(model, smallOptions({ ...RUN, ...options }))));
  let before = neededBytes(memory);
  for (const [options, flags] of ADVICE) {
    const needed = await of(options);
    assert.ok(needed < before, JSON.stringify(flags));
    before = needed;
    const { advice } = await judgeFit(run, memory, needed);
    assert.deepEqual(advice, { flags, neededBytes: needed });
    assert.notDeepEqual((await judgeFit(run, memory, needed - 1)).advice?.flags, flags);
  }
  assert.equal((await judgeFit(run, memory, 1000)).advice, null);
});

Deno.test("judgeFit() advises no smaller adapter where it has no neurons, no recomputing twice, and by the host's part alone", async () => {
  using model = smallModel();
  const method = lora({ rank: 3 });
  const run = plan(model, smallOptions({ ...RUN, method, activations: "recompute" }));
  const small = plan(
    model,
    smallOptions({ ...RUN, method, activations: "recompute", batch: { size: 8, micro: 2, seqLen: 64 } }),
  );
  const memory = await predictMemory(run);
  const needed = neededBytes(await predictMemory(small));
  assert.deepEqual((await judgeFit(run, memory, needed)).advice, {
    flags: { "micro-batch-size": 2 },
    neededBytes: needed,
  });
  assert.equal((await judgeFit(run, memory, 1000)).advice, null);
  const half = await judgeFit(
    run,
    memory,
    1000,
    (memory) => ({ ...memory, residentBytes: { parameters: memory.logitsBytes > 0 ? 999 : 0 } }),
  );
  assert.deepEqual(half.advice, { flags: { "micro-batch-size": 7 }, neededBytes: 999 });
});

Deno.test("judgeFit() advises flags that there are, and of a saved adapter, which brings its sizes, no smaller one", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions(RUN));
  const memory = await predictMemory(run);
  const least = plan(
    model,
    smallOptions({ batch: { ...RUN.batch, micro: 1 }, activations: "recompute" }),
  );
  const bytes = neededBytes(await predictMemory(least)) - 1;
  const { advice } = await judgeFit(run, memory, bytes);
  const flags = Object.keys(advice?.flags ?? {});
  assert.equal(flags.length, 3);
  for (const flag of flags) assert.ok(SETTINGS.some((setting) => setting.flag === flag), flag);
  const started: Run = { ...run, start: {} as SavedAdapter };
  assert.equal((await judgeFit(started, memory, bytes)).advice, null);
});

Deno.test("largest() is the last number that will do, as one by one would find", async () => {
  for (let most = 0; most < 12; most++) {
    for (let last = 0; last < 14; last++) {
      const expected = Math.min(most, last);
      assert.equal(
        await largest(most, (n) => n <= last),
        expected < 1 ? null : expected,
        `${last} of ${most}`,
      );
    }
  }
});

for (const packing of [false, true]) {
  Deno.test(`plannedBatches() are the sizes of the batches that come, packing ${packing}`, () => {
    using model = smallModel();
    const data = { ...smallData(), seqLen: 24 };
    const evalData = smallData(5, 99);
    for (const steps of [1, 2, 4, 7]) {
      const run = plan(model, smallOptions({ steps, batch: { size: 5, micro: 2, seqLen: 24, packing } }));
      const all = [...trainingSteps(data, batchOptions(run)).take(steps)].map(({ microBatches }) =>
        microBatches.map(({ batch }) => {
          const { ids, starts } = batch;
          const lengths = Array.from(starts.slice(1), (end, i) => end - (starts[i] as number));
          return {
            tokens: ids.length,
            targets: targetIds(batch).filter((target) => target >= 0).length,
            longest: Math.max(...lengths),
            pairs: lengths.reduce((sum, n) => sum + n * (n + 1) / 2, 0),
          };
        })
      );
      const most = (name: "tokens" | "targets" | "longest", shapes: readonly (typeof all)[0][0][]) =>
        Math.max(...shapes.map((shape) => shape[name]));
      const sum = (name: "tokens" | "targets" | "pairs") =>
        all.flat().reduce((total, shape) => total + shape[name], 0);
      const [first, later] = [all.map(([shape]) => shape!), all.flatMap(([, ...rest]) => rest)];
      const found = plannedBatches(run, data);
      const size = (shapes: typeof first) => ({
        tokens: most("tokens", shapes),
        targets: most("targets", shapes),
      });
      assert.deepEqual(found.first, size(first));
      assert.deepEqual(found.later, later.length === 0 ? null : size(later));
      assert.equal(found.longest, most("longest", all.flat()));
      assert.equal(
        found.stepTokens,
        Math.max(...all.map((step) => step.reduce((total, { tokens }) => total + tokens, 0))),
      );
      assertWithin("tokens", [found.runTokens], [sum("tokens")], 1e-9);
      const { tokens, targets, pairs } = found.meanStep;
      const means = [sum("tokens"), sum("targets"), sum("pairs")].map((total) => total / steps);
      assertWithin("mean step", [tokens, targets, pairs], means, 1e-9);
      assert.equal(found.evaluation, null);
      const { evaluation, longest } = plannedBatches(run, data, evalData);
      const { offsets, lossMask } = evalData;
      const rows = Array.from(offsets.slice(1), (end, i) => [offsets[i] as number, end] as const);
      const ofMicros = [rows.slice(0, 2), rows.slice(2, 4), rows.slice(4)];
      assert.equal(
        evaluation?.tokens,
        Math.max(...ofMicros.map((micro) => micro.reduce((total, [from, to]) => total + to - from, 0))),
      );
      const targetsOf = ([from, to]: readonly [number, number]) =>
        lossMask.slice(from, to).reduce((a, b) => a + b, 0);
      assert.equal(
        evaluation?.targets,
        Math.max(...ofMicros.map((micro) => micro.reduce((total, row) => total + targetsOf(row), 0))),
      );
      assert.equal(longest, Math.max(found.longest, ...rows.map(([from, to]) => to - from)));
    }
  });
}
