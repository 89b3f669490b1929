// SPDX-License-Identifier: Apache-2.0
/** What `--resume` takes from the run that it goes on with, and what of it those given now replace. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { flagsOfEarlier } from "../../../lib/cli/flags/earlier.ts";
import type { FlagValues } from "../../../lib/cli/flags/flags.ts";
import { camelCase } from "../../../lib/core/options.ts";
import { recordedFlags, withRecordedFlags } from "../../../lib/cli/flags/resumed.ts";
import { TRAIN_FLAGS } from "../../../lib/cli/flags/train.ts";
import { readRunOptions } from "../../../lib/cli/flags/train_options.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import { plan, runIdentity } from "../../../lib/train/plan.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { said } from "../../fixtures/said.ts";
import { smallData, smallModel } from "../train/small_run.ts";
import { recordRun } from "../../../lib/train/run_record.ts";

const RECORDED = {
  ...{
    model: "models/m",
    data: ["rows.jsonl", "/abs/more.jsonl"],
    evalData: ["eval.jsonl"],
    adapter: "/abs/a",
  },
  ...{
    chatTemplate: "t.jinja",
    lr: 0.5,
    topK: 4,
    steps: 10,
    seed: 7,
    batchSize: 8,
    packing: true,
    examples: 2,
  },
};

async function resumed(given: FlagValues, record: JsonObject): Promise<FlagValues> {
  let values: FlagValues = {};
  await withFolder(async (out) => {
    await Deno.writeTextFile(join(out, "run.json"), JSON.stringify(record));
    const { out: _, ...others } = await withRecordedFlags({ resume: true, out, ...given });
    values = others;
  });
  return values;
}

Deno.test("withRecordedFlags() takes every flag of the run, sees its paths from where it was started, and lets given ones win", async () => {
  const record = { method: "sparse", flags: RECORDED, cwd: "/elsewhere" };
  const found = {
    ...{ resume: true, model: "/elsewhere/models/m", data: ["/elsewhere/rows.jsonl", "/abs/more.jsonl"] },
    ...{ "eval-data": ["/elsewhere/eval.jsonl"], adapter: "/abs/a", "chat-template": "/elsewhere/t.jinja" },
    ...{ lr: 0.5, "top-k": 4, steps: 10, seed: 7, "batch-size": 8, packing: true, examples: 2 },
  };
  assert.deepEqual(await resumed({}, record), found);
  assert.deepEqual(await resumed({ lr: 0.25, data: ["x"] }, record), { ...found, lr: 0.25, data: ["x"] });
  const { steps: _, ...others } = found;
  assert.deepEqual(
    await resumed({ epochs: 3 }, record),
    { ...others, epochs: 3 },
    "a number of steps would win",
  );
  assert.deepEqual(await resumed({ steps: 12 }, record), { ...found, steps: 12 });
  const words = { method: "sparse", flags: { model: "m", chatTemplate: "off" }, cwd: "/elsewhere" };
  assert.deepEqual(await resumed({}, words), { resume: true, model: "/elsewhere/m", "chat-template": "off" });
  const here = { method: "sparse", flags: { model: "m", data: ["d"] }, cwd: Deno.cwd() };
  assert.deepEqual(await resumed({}, here), { resume: true, model: "m", data: ["d"] });
});

Deno.test("withRecordedFlags() is for --resume with --out alone, and refuses another method", async () => {
  const record = { method: "sparse", flags: RECORDED, cwd: "/" };
  assert.deepEqual(await withRecordedFlags({ lr: 1, out: "nowhere" }), { lr: 1, out: "nowhere" });
  assert.deepEqual(await withRecordedFlags({ lr: 1, resume: true }), { lr: 1, resume: true });
  await assert.rejects(
    resumed({ method: "lora" }, record),
    /--method is lora, the run has sparse: leave it as it was/,
  );
  assert.equal((await resumed({ method: "sparse" }, record)).method, "sparse");
  await assert.rejects(
    resumed({}, { method: "sparse", flags: { lr: "x" }, cwd: "/" }),
    /run\.json: "lr" is "x"/,
  );
});

Deno.test("recordedFlags() writes down all that the run was asked for, but what concerns one call", () => {
  const model = smallModel();
  const values = Object.fromEntries(TRAIN_FLAGS.map(({ name }) => [name, name]));
  const recorded = recordedFlags(values, model);
  const left = TRAIN_FLAGS.map(({ name }) => name).filter((name) => !(camelCase(name) in recorded));
  assert.deepEqual(left.sort(), ["dry-run", "out", "resume", "watch", "watch-port"]);
  for (const [name, value] of Object.entries(recorded)) {
    if (name !== "dtype") assert.equal(camelCase(value as string), name);
  }
  assert.equal(recorded.dtype, model.kernels.compute, "what it multiplies in, also where auto was asked for");
  assert.deepEqual(recordedFlags({}, model), { dtype: model.kernels.compute });
});

Deno.test("flagsOfEarlier() tells flags that decide the same run as a version decided that wrote none down", () =>
  withFolder(async (out) => {
    const model = smallModel();
    const runs: readonly FlagValues[] = [
      {},
      {
        ...{
          method: "sparse",
          neurons: 16,
          experts: 4,
          "active-experts": 2,
          "top-k": 2,
          gate: "softmax",
          keys: "frozen",
        },
        ...{
          lr: 0.5,
          schedule: "cosine",
          "warmup-ratio": 0.25,
          "weight-decay": 0.125,
          adam: "dense",
          beta1: 0.5,
        },
        ...{ beta2: 0.75, "adam-eps": 1e-3, clip: 0, "clip-by": "layer", steps: 3, "batch-size": 6, seed: 9 },
        ...{
          "micro-batch-size": 3,
          packing: true,
          activations: "recompute",
          "save-every": 2,
          "save-limit": 5,
        },
        ...{ scope: "union" },
      },
      {
        ...{
          method: "lora",
          rank: 2,
          "lora-alpha": 3,
          "lora-dropout": 0.25,
          rslora: true,
          target: ["q", "v"],
        },
        ...{ "exclude-target": ["v"], "layers-to-transform": [1], "rank-pattern": { q_proj: 4 }, epochs: 7 },
        ...{
          "alpha-pattern": { q_proj: 5 },
          clip: 0.5,
          system: "Be",
          thinking: "on",
          "template-option": { a: 1 },
        },
      },
      { method: "full", lr: 1e-3 },
    ];
    for (const flags of runs) {
      const sized = flags.method === undefined ? { neurons: 16, experts: 4 } : {};
      const options = readRunOptions({ "seq-len": 12, ...sized, ...flags }, null, null);
      const run = plan(model, options);
      await recordRun(out, run, smallData(), { step: 0, flags: null, from: null, predicted: null });
      const record = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
      const told = flagsOfEarlier(record);
      assert.deepEqual([told.model, told.data, told.dtype], [
        model.dir,
        ["small.jsonl"],
        model.kernels.compute,
      ]);
      const values = Object.fromEntries(
        TRAIN_FLAGS.flatMap(({ name }) => {
          const value = told[camelCase(name)];
          return value === undefined ? [] : [[name, value]];
        }),
      ) as FlagValues;
      const again = plan(model, readRunOptions(values, null, null));
      assert.deepEqual(runIdentity(again), runIdentity(run));
      assert.deepEqual(again.settings, run.settings);
    }
  }));

Deno.test("train --resume without --out is one error, unless the config file names the folder", () =>
  withFolder(async (folder) => {
    const none = await said("train", ["--resume"]);
    assert.equal(none.code, 2);
    assert.deepEqual(JSON.parse(none.results[0] as string).error.problems, [
      "--resume needs --out, the run to continue",
    ]);
    assert.equal(none.errors.length, 1);
    const config = join(folder, "config.json");
    await Deno.writeTextFile(config, JSON.stringify({ out: join(folder, "run") }));
    const named = await said("train", ["--resume", "--config", config]);
    assert.equal(named.code, 2);
    assert.match(
      named.errors.join(),
      /run.* (does not say what the run was started with|has no|is no|does not exist)/,
    );
    assert.ok(named.errors.join().includes(join(folder, "run")), named.errors.join());
  }));

/** What does not go together, and what is said of it. */
const CONFLICTS: readonly (readonly [command: string, args: string, problems: readonly string[]])[] = [
  ["train", "--model m", ["--model needs --data"]],
  ["train", "--data d", ["--data needs --model"]],
  ["train", "--eval-every 2", ["--eval-every needs --eval-data"]],
  ["train", "--watch-port 1", ["--watch-port needs --watch"]],
  ["train", "--resume --model m", ["--model needs --data", "--resume needs --out, the run to continue"]],
  ["train", "--method full --neurons 4", [
    "--neurons does not apply to --method full, only to sparse, parallel, bottleneck, meft1, meft2 and meft3",
  ]],
  ["train", "--template-option messages=1", [
    "--template-option messages cannot be set: rows and prompts give the turns",
  ]],
  ["ablate", "--model m", ["--model needs --data"]],
  ["ablate", "--data d", ["--data needs --model"]],
  ["ablate", "--metric none f1", ["--metric none stands alone: no answers are scored"]],
  ["ablate", "--seed 1 --seeds 2", ["--seed and --seeds exclude each other: keep one"]],
  ["generate", "--prompt a --prompts b", ["--prompt and --prompts exclude each other"]],
  ["generate", "--prompt a --bad-rows skip", [
    "--bad-rows needs --prompts: a single prompt that cannot be used is an error",
  ]],
  ["evaluate", "--predictions no/where/a.jsonl", [
    '--predictions is "no/where/a.jsonl", but there is no folder "no/where"',
  ]],
  ["evaluate", "--predictions tests", ['--predictions is "tests", a folder: name a file in it']],
  ["merge", "", ["--adapter is needed", "--out is needed"]],
  ["merge", "--out x", ["--adapter is needed"]],
  ["report", "", ["--run is needed: the run folder"]],
  ["report", "--watch-port 1", ["--run is needed: the run folder", "--watch-port needs --watch"]],
  ["doctor", "--model m", ["--model needs --methods"]],
  ["completion", "", ["a shell is needed: bash, zsh, fish"]],
  ["preview", "--rows -1", ['--rows is "-1", expected a whole number from 0']],
];

Deno.test("flags that do not go together, and those that are missing, are told all at once, before anything is opened", async () => {
  for (const [command, args, problems] of CONFLICTS) {
    const { code, results } = await said(command, args.split(" ").filter((word) => word !== ""));
    assert.equal(code, 2, `${command} ${args}`);
    assert.deepEqual(JSON.parse(results[0] as string).error.problems, problems, `${command} ${args}`);
  }
});
