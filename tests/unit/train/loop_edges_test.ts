// SPDX-License-Identifier: Apache-2.0
/** First and last steps of a run, what it holds and leaves, and which parameters it saves. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Dataset } from "../../../lib/data/dataset.ts";
import { full } from "../../../lib/methods/methods.ts";
import type { AdamMode } from "../../../lib/ops/kernels/rows.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { plannedBatches } from "../../../lib/predict/batch_sizes.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { FORECAST } from "../../../lib/predict/train.ts";
import { dataProblems, train, type TrainOptions } from "../../../lib/train/loop.ts";
import { evaluateState } from "../../../lib/train/guarded.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { NonFiniteError } from "../../../lib/train/step.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { plainSafetensors } from "../../fixtures/plain_safetensors.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "./small_run.ts";

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

async function trainAll(options: RunOptions, trainOptions: TrainOptions = {}, stopAfter = Infinity) {
  using model = smallModel();
  const training = train(plan(model, smallOptions(options)), smallData(), trainOptions);
  let taken = 0;
  for await (const _ of training) if (++taken === stopAfter) break;
  return training;
}

Deno.test("every checkpoint of lazy-exact holds the parameters of dense, read by other code, and so does what is left when the loop is left", () =>
  withFolder(async (folder) => {
    const saved = new Map<AdamMode, Map<string, Uint8Array>[]>();
    for (const mode of ["dense", "lazy-exact"] as const) {
      const out = join(folder, mode);
      const optimizer = adamw({ lr: 0.02, mode });
      const training = await trainAll({ out, optimizer, saveEvery: 2 }, {}, 5);
      const files = [2, 4].map((step) =>
        plainSafetensors(join(out, "checkpoints", `step-00000${step}`, "parameters.safetensors"))
      );
      saved.set(mode, [...files, parameterBytes(training.adapter?.parameters ?? [])]);
    }
    assertSame(saved.get("lazy-exact"), saved.get("dense"));
  }));

Deno.test("train() that is stopped before its first step saves nothing, and can be begun by a resume", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const run = plan(model, smallOptions({ out: join(folder, "run"), steps: 2 }));
    const events = train(run, smallData(), { signal: AbortSignal.abort() });
    assert.deepEqual(await events.next(), {
      done: true,
      value: { steps: 0, interrupted: true, adapter: null },
    });
    assert.equal(existsSync(join(folder, "run", "checkpoints")), false);
    assert.equal(existsSync(join(folder, "run", "adapter")), false);
    const again = await trainAll({ out: join(folder, "run"), steps: 2 }, { resume: true });
    assertSame(
      parameterBytes(again.adapter?.parameters ?? []),
      parameterBytes((await trainAll({ steps: 2 })).adapter?.parameters ?? []),
    );
  }));

Deno.test("train() that is stopped in a step saves it before it yields, so that a reader may leave there", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const out = join(folder, "run");
    const run = plan(model, smallOptions({ out, steps: 4 }));
    const stop = new AbortController();
    let calls = 0;
    const clock = () => (stop.abort(), calls++); // is read in the midst of a step
    const events = train(run, smallData(), { signal: stop.signal, clock });
    const first = await events.next();
    assert.equal(!first.done && first.value.checkpoint, join(out, "checkpoints", "step-000001"));
    assert.deepEqual(namesIn(join(out, "checkpoints")), ["step-000001"]);
    assert.equal((await events.next()).done, true);
  }));

Deno.test("train() from a named checkpoint in a folder of its own misses no lines: that log begins there", () =>
  withFolder(async (folder) => {
    const from = join(folder, "from");
    await trainAll({ out: from, steps: 2, saveEvery: 1 });
    const warnings: string[] = [];
    await trainAll({ out: join(folder, "new"), steps: 2 }, {
      resume: join(from, "checkpoints", "step-000001"),
      onWarning: (text) => void warnings.push(text),
    });
    assert.deepEqual(warnings, []);
  }));

Deno.test("train() whose first step is not finite saves nothing", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const kernels = model.kernels as { crossEntropy: typeof model.kernels.crossEntropy };
    const crossEntropy = kernels.crossEntropy.bind(model.kernels);
    kernels.crossEntropy = (loss, ...rest) => {
      crossEntropy(loss, ...rest);
      loss[0] = NaN;
    };
    const run = plan(model, smallOptions({ out }));
    await assert.rejects(train(run, smallData()).next(), (error) => {
      assert.ok(error instanceof NonFiniteError && error.step === 1, `${error}`);
      return true;
    });
    assert.equal(existsSync(join(out, "checkpoints")), false);
  }));

Deno.test("train() leaves parameters alone in the ledger, and nothing once they are released", async () => {
  for (const options of [{}, { method: full() }]) {
    using model = smallModel();
    const { ledger, arena, hostArena } = model.kernels;
    const held = () =>
      ["parameters", "optimizer", "gradients"].map((name) => ledger.held.get(name as "optimizer") ?? 0);
    const before = held();
    const run = plan(model, smallOptions({ ...options, steps: 2 }));
    const training = train(run, smallData());
    for await (const _ of training) assert.ok((held()[1] ?? 0) > 0);
    const [parameters = 0, optimizer] = held();
    assert.ok(parameters > 0);
    assert.equal(optimizer, 0);
    assert.deepEqual([arena.usedBytes, hostArena.usedBytes], [0, 0]);
    training.adapter?.release();
    assert.deepEqual(held(), before);
  }
});

Deno.test("dataProblems() says why a run cannot train on data, and takes rows as long as they may be", () => {
  using model = smallModel();
  const problems = (data: Partial<Dataset>, batch = {}) =>
    dataProblems(plan(model, smallOptions({ batch: { size: 4, seqLen: 12, ...batch } })), {
      ...smallData(),
      ...data,
    });
  const { report, offsets } = smallData();
  const longest = Math.max(...Array.from(offsets.slice(1), (end, i) => end - (offsets[i] as number)));
  assert.deepEqual(problems({ offsets: Float64Array.of(0) }), ["has no examples"]);
  assert.deepEqual(problems({ report: { ...report, targets: 0 } }), [
    "has no token to take a loss of: nothing can be learnt from it",
  ]);
  assert.deepEqual(problems({}, { seqLen: longest }), []);
  assert.deepEqual(problems({}, { seqLen: longest - 1 }), [
    `has rows of up to ${longest} tokens, but batch.seqLen is ${longest - 1}: load it with seqLen ${
      longest - 1
    }`,
  ]);
  assert.deepEqual(problems({ seqLen: 40 }), []);
  assert.deepEqual(problems({ seqLen: 40 }, { packing: true }), [
    "has rows of up to 40 tokens, but batch.seqLen is 12: load it with seqLen 12",
  ]);
  assert.deepEqual(problems({ seqLen: 12 }, { packing: true }), []);
});

Deno.test("evaluateState() takes as many rows at once as training does", async () => {
  const rows: number[] = [];
  const reference = referenceKernels();
  const kernels = {
    ...reference,
    embeddingForward: (...args: Parameters<typeof reference.embeddingForward>) => {
      rows.push(args[1].length);
      reference.embeddingForward(...args);
    },
  };
  using model = smallModel(kernels);
  const { offsets } = smallData();
  const lengths = Array.from(offsets.slice(1), (end, i) => end - (offsets[i] as number));
  const tokensOf = (micro: number) =>
    Array.from(
      { length: 12 / micro },
      (_, i) => lengths.slice(i * micro, (i + 1) * micro).reduce((a, b) => a + b),
    );
  for (const micro of [3, 4]) {
    const run = plan(model, smallOptions({ batch: { size: 12, micro, seqLen: 12 } }));
    rows.length = 0;
    await evaluateState(run, init(run), smallData());
    assert.deepEqual(rows, tokensOf(micro));
  }
});

Deno.test("train() tells each warning once, and takes what its last checkpoint's removal left behind", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const warnings: string[] = [];
    const run = plan(model, smallOptions({ out, steps: 3, saveEvery: 1, saveTotalLimit: 1 }));
    const { remove } = Deno;
    let refused = 0;
    Deno.remove = (path, options) => {
      if (!/\.step-000001\.[^/]*$/.test(String(path)) || refused === 2) return remove(path, options);
      refused++;
      return Promise.reject(new Error("Device or resource busy (os error 16)"));
    };
    try {
      for await (const _ of train(run, smallData(), { onWarning: (text) => void warnings.push(text) }));
    } finally {
      Deno.remove = remove;
    }
    assert.equal(refused, 2);
    assert.equal(warnings.length, 1, warnings.join("\n"));
    assert.match(warnings[0] as string, /^Cannot remove .*step-000001.*resource busy.*tried again later$/);
    assert.deepEqual(namesIn(join(out, "checkpoints")), ["step-000003"]);
  }));

Deno.test("train() logs the moment of each step by the clock of the wall", () =>
  withFolder(async (out) => {
    const before = Date.now() / 1000;
    await trainAll({ out, steps: 2 });
    const after = Date.now() / 1000;
    const times = Deno.readTextFileSync(join(out, "metrics.jsonl")).trimEnd().split("\n").map((line) =>
      JSON.parse(line).time
    );
    assert.ok(before <= times[0] && times[0] <= times[1] && times[1] <= after, `${before} ${times} ${after}`);
  }));

Deno.test("train() writes down the memory that is predicted by its data and by what it is evaluated on", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const options = { out, steps: 1, batch: { size: 2, micro: 1, seqLen: 12 } };
    const short = smallData(4, 1);
    const rows = smallData(8, 99);
    const evalData = { ...rows, offsets: Float64Array.of(0, rows.ids.length) }; // one long row
    const predicted = async (on: Dataset | null) => {
      const planned = plan(model, smallOptions(options));
      return (await predictMemory(planned, plannedBatches(planned, short, on))).bytes;
    };
    const bytes = await predicted(evalData);
    assert.notDeepEqual(bytes, await predicted(null), "it is evaluated on longer rows");
    const run = plan(model, smallOptions(options));
    for await (const _ of train(run, short, { evalData, forecast: FORECAST }));
    const record = JSON.parse(Deno.readTextFileSync(join(out, "run.json")));
    assert.deepEqual(record.predictedBytes, bytes);
  }));
