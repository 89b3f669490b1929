// SPDX-License-Identifier: Apache-2.0
/** Runs that go on with other settings than they were begun with. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assertSame } from "../../compare.ts";
import { UserError } from "../../../lib/core/errors.ts";
import { lora, parallel, sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { cosine } from "../../../lib/optim/schedule.ts";
import { batches } from "../../../lib/train/batches.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { flushState, init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { copy } from "../../../scripts/folders.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { parameterBytes, SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

/** Trains to the end, or until so many steps were taken in this call; every bit of the parameters. */
async function bitsOf(options: RunOptions, resume: boolean, stopAfter = Infinity) {
  using model = smallModel();
  const run = plan(model, smallOptions(options));
  let taken = 0;
  const training = train(run, smallData(), { resume });
  for await (const _ of training) if (++taken === stopAfter) break;
  return parameterBytes(training.adapter?.parameters ?? []);
}

/** The rule, as a loop of one's own: so many steps as planned first, all others as planned then. */
async function bitsByRule(first: RunOptions, steps: number, then: RunOptions) {
  using model = smallModel();
  const [before, after] = [plan(model, smallOptions(first)), plan(model, smallOptions(then))];
  let state = init(before);
  for (const data of batches(before, smallData())) {
    [state] = await trainStep(before, state, data);
    if (state.step === steps) break;
  }
  for (const data of batches(after, smallData(), state)) [state] = await trainStep(after, state, data);
  await flushState(after, state);
  return parameterBytes(state.params.parameters);
}

const CHANGES: readonly (readonly [string, RunOptions, RunOptions])[] = [
  ["more steps", { steps: 6 }, { steps: 12 }],
  ["fewer steps that are to come", { steps: 12, saveEvery: 6 }, { steps: 8 }],
  ["more epochs", { steps: null, epochs: 2 }, { steps: null, epochs: 4 }],
  ["another micro-batch size", { steps: 12, saveEvery: 6 }, {
    steps: 12,
    batch: { size: 4, micro: 3, seqLen: 12 },
  }],
  ["another placement and halves", { steps: 12, saveEvery: 6 }, {
    steps: 12,
    placement: "device",
    halves: 2,
    cachedRows: 30,
  }],
  ["more steps and larger micro-batches of a cosine that had ended", {
    steps: 6,
    optimizer: adamw({ lr: 0.02, schedule: cosine(), mode: "dense" }),
  }, {
    steps: 9,
    batch: { size: 4, micro: 4, seqLen: 12 },
    optimizer: adamw({ lr: 0.02, schedule: cosine(), mode: "dense" }),
  }],
];

for (const [what, first, then] of CHANGES) {
  for (const method of [sparse(SMALL_SPARSE), parallel({ neurons: 5 })]) {
    if (method.name === "parallel" && first.steps === 12) continue;
    Deno.test(`train() goes on with ${what} as the rule says, bit for bit: ${method.name}`, async () => {
      await withFolder(async (folder) => {
        const out = join(folder, "run");
        await bitsOf({ method, out, ...first }, false, 6);
        const resumed = await bitsOf({ method, out, ...then }, true);
        assertSame(resumed, await bitsByRule({ method, ...first }, 6, { method, ...then }));
        assert.notDeepEqual(resumed, await bitsByRule({ method, ...first }, 6, { method, ...first }));
      });
    });
  }
}

Deno.test("train() that goes on with a setting as it was ends in the bits of a run left alone", async () => {
  await withFolder(async (folder) => {
    const out = join(folder, "run");
    await bitsOf({ out, saveEvery: 2 }, false, 5);
    const resumed = await bitsOf({
      out,
      saveEvery: 3,
      saveTotalLimit: 1,
      evalEvery: 2,
      activations: "recompute",
    }, true);
    assertSame(resumed, await bitsOf({}, false));
  });
});

Deno.test("train() writes down what changed when a run went on, and from which step on", async () => {
  await withFolder(async (folder) => {
    const out = join(folder, "run");
    const record = async () => JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    await bitsOf({ out, steps: 4, saveEvery: 2 }, false);
    assert.deepEqual((await record()).history, []);
    await bitsOf({ out, steps: 4, saveEvery: 2 }, true);
    assert.deepEqual((await record()).history, []);
    await bitsOf({ out, steps: 6, saveEvery: 3 }, true);
    const batch = { size: 4, micro: 1, seqLen: 12 };
    await bitsOf({ out, steps: 7, saveEvery: 3, batch }, true);
    const { history, identity } = await record();
    assert.deepEqual(history, [
      { step: 4, changed: { steps: [4, 6], saveEvery: [2, 3], totalSteps: [4, 6] } },
      { step: 6, changed: { "batch.micro": [2, 1], steps: [6, 7], totalSteps: [6, 7] } },
    ]);
    assert.equal(identity.steps, 7);
  });
});

Deno.test("train() refuses what would change the meaning of what is done, all of it by name with both values", async () => {
  await withFolder(async (folder) => {
    const out = join(folder, "run");
    await bitsOf({ out, steps: 4 }, false);
    const refused = (options: RunOptions, expected: readonly RegExp[]) =>
      assert.rejects(bitsOf({ out, ...options }, true), (error: Error) => {
        assert.ok(error instanceof UserError, `${error}`);
        for (const pattern of expected) assert.match(error.message, pattern);
        assert.match(error.message, new RegExp(`has ${expected.length} problem`));
        return true;
      });
    const way = "leave it as it was, or begin a new run";
    await refused({
      steps: 3,
      seed: 7,
      method: sparse({ ...SMALL_SPARSE, topK: 4, gate: "softmax" }),
      optimizer: adamw({ lr: 0.5, beta1: 0.8, schedule: "constant", mode: "dense" }),
      batch: { size: 5, micro: 1, seqLen: 13, packing: true },
    }, [
      new RegExp(`--seed is 7, the run has 42: ${way}`),
      new RegExp(`--top-k is 4, the run has 3: ${way}`),
      new RegExp(`--gate is "softmax", the run has "raw": ${way}`),
      new RegExp(`--lr is 0.5, the run has 0.02: ${way}`),
      new RegExp(`--beta1 is 0.8, the run has 0.9: ${way}`),
      new RegExp(`--schedule is "constant", the run has "linear": ${way}`),
      new RegExp(`--adam is "dense", the run has "lazy-exact": ${way}`),
      new RegExp(`--batch-size is 5, the run has 4: ${way}`),
      new RegExp(`--seq-len is 13, the run has 12: ${way}`),
      new RegExp(`--packing is true, the run has false: ${way}`),
      /the run would have 3 steps, but has taken 4 already: give more --steps or --epochs/,
    ]);
    await bitsOf({ out, steps: 4 }, true);
  });
});

Deno.test("train() refuses another micro-batch size where neurons are chosen over micro-batches", async () => {
  await withFolder(async (folder) => {
    const out = join(folder, "run");
    const method = sparse({ ...SMALL_SPARSE, scope: "union" });
    await bitsOf({ out, method, steps: 2 }, false);
    const batch = { size: 4, micro: 4, seqLen: 12 };
    await assert.rejects(
      bitsOf({ out, method, steps: 4, batch }, true),
      /--micro-batch-size is 4, the run has 2, where scope union chooses over the whole micro-batch: leave/,
    );
    await bitsOf({ out, method, steps: 4 }, true);
  });
});

Deno.test("train() that goes on longer and is stopped at once keeps the checkpoint that it came from", async () => {
  await withFolder(async (folder) => {
    const out = join(folder, "run");
    await bitsOf({ out, steps: 4 }, false);
    using model = smallModel();
    const run = plan(model, smallOptions({ out, steps: 9 }));
    const stopped = train(run, smallData(), { resume: true, signal: AbortSignal.abort() });
    assert.deepEqual((await stopped.next()).value, { steps: 4, interrupted: true, adapter: null });
    assert.deepEqual([...Deno.readDirSync(join(out, "checkpoints"))].map(({ name }) => name), [
      "step-000004",
    ]);
    assertSame(await bitsOf({ out, steps: 9 }, true), await bitsByRule({ steps: 4 }, 4, { steps: 9 }));
  });
});

const EARLIER = fileURLToPath(new URL("../../fixtures/earlier_run", import.meta.url));

/** A run of 6 steps that an earlier version was killed in: after step 3, with a checkpoint of step 2. */
async function withEarlierRun(use: (out: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    await copy(EARLIER, join(folder, "run"));
    await use(join(folder, "run"));
  });
}

const EARLIER_METHOD = lora({ rank: 1, targets: ["q", "down"] });

Deno.test("train() resumes the run folder of an earlier version to the bits of a run left alone, and longer", async () => {
  const options = { method: EARLIER_METHOD, steps: 6, saveEvery: 2 };
  await withEarlierRun(async (out) => {
    assertSame(await bitsOf({ ...options, out }, true), await bitsOf(options, false));
    const steps = Deno.readTextFileSync(join(out, "metrics.jsonl")).trimEnd().split("\n").map((line) =>
      JSON.parse(line).step
    );
    assert.deepEqual(steps, [1, 2, 3, 4, 5, 6]);
  });
  await withEarlierRun(async (out) => {
    const longer = { ...options, steps: 9 };
    assertSame(await bitsOf({ ...longer, out }, true), await bitsByRule(options, 2, longer));
    const { history } = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    assert.deepEqual(history, [{ step: 2, changed: { steps: [6, 9], totalSteps: [6, 9] } }]);
  });
});
