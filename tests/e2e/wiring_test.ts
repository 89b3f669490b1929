// SPDX-License-Identifier: Apache-2.0
/** Every flag reaches the option that it names: each is given another value than its default, and what was done is read. */
import { METHOD_NAMES } from "../../lib/methods/methods.ts";
import assert from "node:assert/strict";
import { join } from "node:path";
import { GRID_FLAGS } from "../../lib/cli/flags/grid.ts";
import { readRunOptions } from "../../lib/cli/flags/train_options.ts";
import { DOCTOR } from "../../lib/cli/commands/doctor.ts";
import { runCommand } from "../../lib/cli/program.ts";
import { REPORT } from "../../lib/cli/commands/report.ts";
import type { FlagValues } from "../../lib/cli/flags/flags.ts";
import { TRAIN_FLAGS } from "../../lib/cli/flags/train.ts";
import { lastStep } from "../../lib/report/tensorboard/records.ts";
import { plan, runIdentity } from "../../lib/train/plan.ts";
import { writeRows } from "./chat_model.ts";
import { withFolder } from "../fixtures/folder.ts";
import { overheard, said } from "../fixtures/said.ts";
import { smallModel } from "../unit/train/small_run.ts";

const MODEL = "notebooks/demo/model";
const MACHINE = ["--model", MODEL, "--threads", "1", "--device", "cpu", "--dtype", "f32"];

/** Runs a command that must end well. Returns its JSON object. */
async function done(name: string, args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, errors, results } = await said(name, args);
  assert.equal(code, 0, `${name} ${args.join(" ")}: ${errors.join("\n")}`);
  assert.equal(results.length, 1);
  return JSON.parse(results[0] as string);
}

async function readJson(path: string): Promise<Record<string, never>> {
  return JSON.parse(await Deno.readTextFile(path));
}

async function readLines(path: string): Promise<Record<string, never>[]> {
  return (await Deno.readTextFile(path)).trimEnd().split("\n").map((line) => JSON.parse(line));
}

const TEMPLATE =
  "{%- for m in messages -%}{{- m.content + (day if day is defined else '') + '\\n' -}}{%- endfor -%}";

/** Six rows and one that cannot be used, one more, and a template. */
async function writeInputs(folder: string) {
  const rows = Array.from({ length: 6 }, (_, i) => ({ prompt: `q${i}`, completion: ` a${i} b c` }));
  const data = await writeRows(join(folder, "rows.jsonl"), rows);
  await Deno.writeTextFile(data, "{bad\n", { append: true });
  const evalData = await writeRows(join(folder, "eval.jsonl"), [{ prompt: "q", completion: " a b c" }]);
  const template = join(folder, "template.jinja");
  await Deno.writeTextFile(template, TEMPLATE);
  return { data, evalData, template };
}

Deno.test("train: every flag of a sparse run reaches what it names, and its JSON object is of these steps", () =>
  withFolder(async (folder) => {
    const { data, evalData, template } = await writeInputs(folder);
    const out = join(folder, "run");
    const flags = {
      ...{ model: MODEL, device: "cpu", dtype: "f32", threads: 1, data: [data], seqLen: 40, lossOn: "all" },
      ...{ chatTemplate: template, thinking: "on", system: "Be", templateOption: { day: "Monday" } },
      ...{ badRows: "skip", dataCache: "off", evalData: [evalData], packing: true },
      ...{
        method: "sparse",
        neurons: 16,
        experts: 4,
        activeExperts: 2,
        topK: 2,
        gate: "softmax",
        scope: "union",
      },
      ...{ keys: "frozen", placement: "host", halves: "1", cachedRows: 8 },
      ...{ lr: 0.003, schedule: "cosine", warmupRatio: 0.25, weightDecay: 0.01, adam: "dense", beta1: 0.8 },
      ...{ beta2: 0.99, adamEps: 1e-6, clip: 0.5, clipBy: "layer", steps: 3, batchSize: 2 },
      ...{ microBatchSize: 1, activations: "recompute", seed: 7, evalEvery: 2, saveEvery: 1, saveLimit: 2 },
      ...{ examples: 1, tensorboard: true },
    };
    const startMs = performance.now();
    const result = await done("train", [...typed(flags), "--out", out]);
    const elapsedMs = performance.now() - startMs;

    const run = await readJson(join(out, "run.json"));
    assert.deepEqual(run.flags, flags);
    assert.equal(run.cwd, Deno.cwd());
    const { identity, settings } = run as unknown as Record<string, Record<string, unknown>>;
    const { baseHash: _, ...decided } = identity as Record<string, unknown>;
    assert.deepEqual(decided, {
      adapter: {
        ...{
          kind: "sparse",
          neurons: 16,
          experts: 4,
          activeExperts: 2,
          topK: 2,
          gate: "softmax",
          scope: "union",
        },
        ...{ keys: "frozen", routerInit: "keys", routerScale: 50, initStd: 0.02 },
      },
      optimizer: {
        ...{ name: "adamw", lr: 0.003, schedule: { kind: "cosine", warmupRatio: 0.25 }, clip: 0.5 },
        ...{ beta1: 0.8, beta2: 0.99, eps: 1e-6, weightDecay: 0.01, mode: "dense", clipBy: "layer" },
      },
      batch: { size: 2, micro: 1, seqLen: 40, packing: true },
      ...{ seed: 7, steps: 3, compute: "f32" },
    });
    assert.deepEqual(settings, {
      batch: { size: 2, micro: 1, seqLen: 40, packing: true },
      ...{
        steps: 3,
        epochs: 4,
        seed: 7,
        activations: "recompute",
        out,
        saveEvery: 1,
        saveTotalLimit: 2,
        evalEvery: 2,
      },
      format: {
        ...{ chatTemplate: { jinja: TEMPLATE, name: template }, thinking: "on", system: "Be" },
        templateOptions: { day: "Monday" },
      },
    });
    const { rowsRead, rowsUsed, badRows, targets, tokens } = run.data as unknown as Record<string, number>;
    assert.deepEqual([rowsRead, rowsUsed, badRows], [7, 6, 1], "the bad row is skipped");
    assert.equal(targets, (tokens as number) - 6, "of all tokens but each row's first");
    assert.deepEqual([...Deno.readDirSync(join(out, "checkpoints"))].map(({ name }) => name).sort(), [
      ...["step-000002", "step-000003"],
    ]);
    const [events] = [...Deno.readDirSync(join(out, "tensorboard"))];
    assert.equal(lastStep(await Deno.readFile(join(out, "tensorboard", events?.name ?? ""))), 3);

    const lines = await readLines(join(out, "metrics.jsonl"));
    const sum = (of: (line: Record<string, number>) => number) =>
      lines.reduce((total, line) => total + of(line), 0);
    const seconds = sum(({ tokens, tokensPerSecond }) => (tokens as number) / (tokensPerSecond as number));
    assert.deepEqual(lines.map(({ evalLoss }) => evalLoss !== undefined), [false, true, true]);
    assert.deepEqual([result.steps, result.interrupted, result.tokens], [
      3,
      false,
      sum(({ tokens }) => tokens as number),
    ]);
    assert.deepEqual([result.lossFirst, result.lossLast], [lines[0]?.loss, lines[2]?.loss]);
    assert.deepEqual(result.eval, { loss: lines[2]?.evalLoss });
    assert.deepEqual([result.out, result.adapter], [out, join(out, "adapter")]);
    assert.ok(Math.abs((result.tokensPerSecond as number) * seconds / (result.tokens as number) - 1) < 1e-9);
    // Seconds, milliseconds and bytes are what they are called.
    assert.ok((result.seconds as number) >= seconds && (result.seconds as number) < elapsedMs / 1000);
    const startup = result.startupMs as Record<string, number>;
    assert.deepEqual(Object.keys(startup), ["runtime", "model", "data", "plan", "parameters", "first step"]);
    assert.ok(Object.values(startup).every((ms) => ms >= 0));
    const own = Object.entries(startup).filter(([name]) => name !== "runtime").reduce(
      (total, [, ms]) => total + ms,
      0,
    );
    assert.ok(own > 1 && own < elapsedMs);
    const bytes = ["peakHostBytes", "predictedPeakBytes"].map((name) => result[name] as number);
    for (const count of bytes) {
      assert.ok(count > 30e6 && count < 30e9 && Number.isInteger(Math.round(count)), `${count}`);
    }
    const predicted = result.predictedBytes as Record<string, number>;
    assert.equal(predicted.weights, 3_546_472, "the file of the demo's weights");
    assert.deepEqual(result.ledgerPeakBytes, lines[2]?.peakBytes);
    assert.equal(result.adapterParameters, 4 * 192 * (2 * 16 + 4));
    assert.equal(result.trainableFraction, 4 * 192 * (16 + 4) / 1_771_200);
    assert.deepEqual(
      ["peakDeviceBytes", "predictedDeviceBytes", "pcieBytes", "predictedPcieBytes"].map((name) =>
        result[name]
      ),
      [0, 0, 0, 0],
    );
  }));

/** Flags as they are typed. */
function typed(flags: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(flags).flatMap(([name, value]) => {
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value === true) return [flag];
    if (Array.isArray(value)) return [flag, ...value.map(String)];
    const pairs = typeof value === "object" && value !== null ? Object.entries(value) : null;
    return [flag, ...(pairs ? pairs.map(([key, item]) => `${key}=${item}`) : [String(value)])];
  });
}

Deno.test("train: every flag of a LoRA, and where rows are computed, reach the plan", () => {
  const model = smallModel();
  const planned = (values: FlagValues) =>
    plan(model, readRunOptions({ "seq-len": 12, ...values }, null, null));
  const lora = runIdentity(planned({
    ...{
      method: "lora",
      rank: 2,
      "lora-alpha": 3,
      "lora-dropout": 0.25,
      rslora: true,
      target: ["q", "v", "up"],
    },
    ...{
      "exclude-target": ["up"],
      "layers-to-transform": [1],
      "rank-pattern": { q: 4 },
      "alpha-pattern": { v: 5 },
    },
  }));
  const expected = {
    ...{ kind: "lora", rank: 2, alpha: 3, dropout: 0.25, useRslora: true, targets: ["q", "v", "up"] },
    ...{
      excludeTargets: ["up"],
      layersToTransform: [1],
      rankPattern: { q_proj: 4 },
      alphaPattern: { v_proj: 5 },
    },
  };
  const adapter = lora.adapter as Record<string, unknown>;
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, adapter[name]])), expected);
  const sizes = { neurons: 16, experts: 4, "active-experts": 2, "top-k": 2 };
  const { rows } = planned({ ...sizes, placement: "device", halves: "2", "cached-rows": 8 });
  assert.deepEqual([rows.placement, rows.halves, rows.cachedRows], ["device", 2, 8]);
  const defaults = planned(sizes).rows;
  assert.deepEqual([defaults.placement, defaults.halves, defaults.cachedRows], ["host", 1, 16]);
  const { settings } = planned({ ...sizes, clip: 0, epochs: 3 });
  assert.deepEqual([settings.epochs, settings.steps], [3, null]);
  assert.equal(planned({ ...sizes, clip: 0 }).optimizer.config.clip, null, "0 is none");
});

Deno.test("ablate: its own flags reach the study, and those of train its cells", () =>
  withFolder(async (folder) => {
    const { data } = await writeInputs(folder);
    const out = join(folder, "study");
    const base = [
      ...[...MACHINE, "--data", data, "--bad-rows", "skip", "--seq-len", "40"],
      ...["--neurons", "16", "--experts", "4", "--steps", "2", "--batch-size", "2", "--lr", "0.01"],
    ];
    const study = [
      ...[...base, "--grid", "top-k=1,2", "--seeds", "3", "--out", out, "--metric", "f1", "exact-match"],
      ...[
        "--limit",
        "2",
        "--max-new-tokens",
        "3",
        "--stop",
        "x",
        "y",
        "--save-every",
        "2",
        "--keep-adapters",
      ],
    ];
    const listed = await done("ablate", [...study, "--list"]);
    await assert.rejects(Deno.stat(out), Deno.errors.NotFound, "a list begins nothing");
    const cells = listed.cells as Record<string, unknown>[];
    assert.deepEqual(cells.map(({ label, done, totalSteps }) => [label, done, totalSteps]), [
      ["topK=1 seed=3", false, 2],
      ["topK=2 seed=3", false, 2],
    ]);
    const settings = {
      ...{
        model: MODEL,
        threads: 1,
        device: "cpu",
        dtype: "f32",
        data: [data],
        badRows: "skip",
      },
      ...{
        seqLen: 40,
        neurons: 16,
        experts: 4,
        steps: 2,
        batchSize: 2,
        lr: 0.01,
        saveEvery: 2,
        topK: 1,
        seed: 3,
      },
    };
    assert.deepEqual(cells[0]?.settings, settings);
    const result = await done("ablate", study);
    assert.deepEqual([result.out, result.report], [out, join(out, "report.html")]);
    assert.deepEqual([result.cells, result.done, result.failed, result.interrupted], [2, 2, 0, false]);
    const record = await readJson(join(out, "study.json"));
    assert.deepEqual(record.scoring, {
      ...{ metrics: ["f1", "exact-match"], limit: 2, maxNewTokens: 3, stop: ["x", "y"], sequences: 64 },
    });
    const lines = await readLines(join(out, "results.jsonl"));
    assert.deepEqual(lines.map(({ label }) => label), ["topK=1 seed=3", "topK=2 seed=3"]);
    for (const { cell, numbers } of lines as unknown as { cell: string; numbers: { scores: object } }[]) {
      assert.deepEqual(Object.keys(numbers.scores), ["f1", "exact-match"]);
      const run = await readJson(join(out, "cells", cell, "run.json"));
      assert.equal((run.settings as unknown as Record<string, unknown>).saveEvery, 2);
      assert.ok((await Deno.stat(join(out, "cells", cell, "adapter"))).isDirectory);
    }
    const configurations = result.configurations as { label: string; seeds: number[] }[];
    assert.deepEqual(configurations.map(({ label, seeds }) => [label, seeds]), [["topK=1", [3]], ["topK=2", [
      3,
    ]]]);
    const again = (await done("ablate", [...study, "--list"])).cells as { done: boolean }[];
    assert.deepEqual(again.map(({ done }) => done), [true, true]);
    // What is not said: no score where none is wanted, and a folder by what the study is.
    const unnamed = async (...flags: string[]) =>
      (await done("ablate", [...base, "--list", ...flags])).out as string;
    const folders = [
      await unnamed("--grid", "top-k=1,2"),
      await unnamed("--grid", "top-k=1,4"),
      await unnamed("--grid", "top-k=1,2", "--seed", "5"),
      await unnamed("--grid", "top-k=1,2", "--seeds", "1,2"),
    ];
    for (const name of folders) assert.match(name, /^runs\/ablate-[0-9a-f]{8}$/);
    assert.equal(new Set(folders).size, folders.length);
    assert.equal(await unnamed("--grid", "top-k=1,2", "--limit", "1", "--keep-adapters"), folders[0]);
  }));

Deno.test("ablate: every flag of train is one of a cell, or says where and how a run is kept", () => {
  const left = TRAIN_FLAGS.map(({ name }) => name).filter((name) =>
    !GRID_FLAGS.some((flag) => flag.name === name)
  );
  assert.deepEqual(left.sort(), [
    ...[
      "data-cache",
      "dry-run",
      "eval-every",
      "examples",
      "out",
      "resume",
      "save-every",
      "save-limit",
      "tensorboard",
    ],
    ...["watch", "watch-port"],
  ]);
});

/** Prompts that the demo's model answers in many tokens, and in four. */
const [LONG, SHORT] = ["The ", "Question:"];

Deno.test("evaluate: its flags reach the scoring, and its answers come in the order of the file", () =>
  withFolder(async (folder) => {
    const prompts = [LONG, SHORT, LONG, SHORT, SHORT, LONG];
    const rows = prompts.map((prompt) => ({ prompt, completion: " cello" }));
    const data = await writeRows(join(folder, "rows.jsonl"), rows);
    const predictions = join(folder, "answers.jsonl");
    const scored = [...MACHINE, "--data", data, "--data-cache", "off", "--metric", "exact-match", "f1"];
    const answers = async (...flags: string[]) => {
      const result = await done("evaluate", [...scored, "--predictions", predictions, ...flags]);
      return { result, lines: await readLines(predictions) as unknown as Answer[] };
    };
    interface Answer {
      readonly text: string;
      readonly finish: string;
      readonly place: { readonly line: number };
      readonly scores: Record<string, number>;
    }
    const { result, lines } = await answers(
      "--micro-batch-size",
      "2",
      "--max-new-tokens",
      "9",
      "--limit",
      "5",
    );
    assert.deepEqual(lines.map(({ place }) => place.line), [1, 2, 3, 4, 5]);
    assert.deepEqual(lines.map(({ finish }) => finish), [
      "length",
      "stop id",
      "length",
      "stop id",
      "stop id",
    ]);
    assert.deepEqual(lines.map(({ text }) => text === " cello"), [false, true, false, true, true]);
    assert.deepEqual(lines.map(({ scores }) => scores["exact-match"]), [0, 1, 0, 1, 1]);
    const scores = result.scores as Record<string, { mean: number; count: number }>;
    assert.deepEqual(Object.keys(scores), ["exact-match", "f1"]);
    assert.deepEqual([scores["exact-match"]?.mean, scores["exact-match"]?.count], [0.6, 5]);
    assert.deepEqual(result.questions, { rowsRead: 6, rowsUsed: 5, badRows: {} });
    const stopped = await answers("--max-new-tokens", "9", "--stop", "l", "g");
    assert.deepEqual(stopped.lines[1]?.text, " ce");
    assert.ok(stopped.lines.every(({ text }) => !/[lg]/.test(text)));
    const loss = await done("evaluate", [...MACHINE, "--data", data, "--data-cache", "off", "--limit", "2"]);
    assert.deepEqual(loss.scores, {});
    assert.ok(Math.abs(Math.log(loss.perplexity as number) / (loss.loss as number) - 1) < 1e-12);
    assert.deepEqual(loss.data, { rowsRead: 6, rowsUsed: 2, badRows: {} });
    const all = await done("evaluate", [
      ...MACHINE,
      "--data",
      data,
      "--data-cache",
      "off",
      "--loss-on",
      "all",
    ]);
    assert.ok((all.targets as number) > 3 * (loss.targets as number));
    const { code, errors } = await said("evaluate", [
      ...MACHINE,
      "--data",
      data,
      "--predictions",
      predictions,
    ]);
    assert.equal(code, 2);
    assert.match(errors.join(), /--predictions needs a metric of answers: --metric exact-match, f1/);
  }));

/** The demo's model with other ends: it never comes to one. */
async function endlessModel(folder: string): Promise<string> {
  const model = join(folder, "endless");
  await Deno.mkdir(model);
  for (const name of ["model.safetensors", "tokenizer.json"]) {
    await Deno.symlink(join(Deno.cwd(), MODEL, name), join(model, name));
  }
  for (
    const [name, ends] of [["config.json", { eos_token_id: 2 }], ["tokenizer_config.json", {
      eos_token: "Ā",
    }]] as const
  ) {
    const text = JSON.stringify({ ...await readJson(join(MODEL, name)), ...ends });
    await Deno.writeTextFile(join(model, name), text);
  }
  return model;
}

Deno.test("generate and evaluate: an answer has 256 tokens at most, as their help says", () =>
  withFolder(async (folder) => {
    const model = ["--model", await endlessModel(folder), "--threads", "1"];
    const { tokens, text } = await done("generate", [...model, "--prompt", LONG]);
    assert.equal(tokens, 256);
    const data = await writeRows(join(folder, "rows.jsonl"), [{ prompt: LONG, completion: " x" }]);
    const predictions = join(folder, "answers.jsonl");
    await done("evaluate", [...model, "--data", data, "--metric", "f1", "--predictions", predictions]);
    const [answer] = await readLines(predictions);
    assert.deepEqual([answer?.text, answer?.finish], [text, "length"]);
  }));

Deno.test("generate: its flags reach the sampling, and what is not said is greedy", () =>
  withFolder(async (folder) => {
    const one = async (...flags: string[]) =>
      await done("generate", [...MACHINE, "--prompt", LONG, ...flags]);
    const text = async (...flags: string[]) => (await one("--max-new-tokens", "12", ...flags)).text;
    const greedy = await text();
    assert.equal(await text("--temperature", "0", "--seed", "9"), greedy);
    assert.equal(await text("--temperature", "1", "--top-p", "1e-9"), greedy, "the likeliest alone");
    const warm = ["--temperature", "2"];
    assert.equal(await text(...warm), await text(...warm, "--seed", "0", "--top-p", "1"));
    assert.notEqual(await text(...warm), greedy);
    assert.notEqual(await text(...warm, "--seed", "1"), await text(...warm));
    const whole = await one("--max-new-tokens", "12", "--stop", "e", "g");
    assert.deepEqual([whole.text, whole.finish], [
      (greedy as string).slice(0, (greedy as string).search(/[eg]/)),
      "stop string",
    ]);
    assert.ok((whole.tokensPerSecond as number) > 0.1 && (whole.tokensPerSecond as number) < 1e6);

    const file = await writeRows(join(folder, "prompts.jsonl"), [{ prompt: LONG }, { prompt: SHORT }, {
      prompt: 1,
    }]);
    const predictions = join(folder, "answers.jsonl");
    const all = await done("generate", [
      ...[
        ...MACHINE,
        "--prompts",
        file,
        "--bad-rows",
        "skip",
        "--predictions",
        predictions,
        "--max-new-tokens",
        "7",
      ],
      ...["--micro-batch-size", "1"],
    ]);
    const answers = all.answers as Record<string, unknown>[];
    assert.deepEqual(answers.map(({ finish, tokens }) => [finish, tokens]), [["length", 7], ["stop id", 4]]);
    assert.deepEqual(answers, await readLines(predictions));
    assert.deepEqual([all.rowsRead, all.rowsUsed, all.tokens], [3, 2, 11]);
    const kept = join(folder, "one.jsonl");
    await one("--predictions", kept, "--max-new-tokens", "2");
    const [line] = await readLines(kept);
    assert.deepEqual([line?.place, line?.prompt, line?.tokens], [null, `<s>${LONG}`, 2]);
  }));

Deno.test("preview: its flags reach what is read and how much of it is shown", () =>
  withFolder(async (folder) => {
    const { data, template } = await writeInputs(folder);
    const shown = async (...flags: string[]) =>
      await done("preview", [
        "--model",
        MODEL,
        "--data",
        data,
        "--bad-rows",
        "skip",
        "--data-cache",
        "off",
        ...flags,
      ]);
    const first = await shown();
    assert.equal((first.examples as unknown[]).length, 3);
    assert.deepEqual([first.rowsRead, first.rowsUsed], [7, 6]);
    assert.equal(((await shown("--rows", "5")).examples as unknown[]).length, 5);
    assert.ok((first.targets as number) < ((await shown("--loss-on", "all")).targets as number));
    const cut = await shown("--seq-len", "4");
    assert.equal(cut.truncatedRows, 6);
    assert.equal(cut.tokens, 24);
    const written = await shown(
      "--chat-template",
      template,
      "--system",
      "Be",
      "--template-option",
      "day=Monday",
    );
    const texts = (written.examples as { tokens: { text: string }[] }[]).map(({ tokens }) =>
      tokens.map(({ text }) => text).join("")
    );
    assert.match(texts[0] ?? "", /BeMonday\nq0Monday\n a0 b cMonday/);
  }));

Deno.test("report: its flags reach the run's folder; what cannot be read of its log is said", () =>
  withFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "run.json"), "{}");
    const lines = [
      '{"step":1,"totalSteps":9,"loss":2}',
      '{"step":2,"lo',
      '{"step":3,"totalSteps":9,"loss":1}',
      "",
    ];
    await Deno.writeTextFile(join(folder, "metrics.jsonl"), lines.join("\n"));
    const page = join(folder, "report.html");
    const found = await done("report", ["--run", folder]);
    assert.deepEqual(found, { run: folder, steps: 3, damagedLines: 1, report: page, tensorboard: null });
    assert.match(await Deno.readTextFile(page), /step 3 of 9/);
    const { tensorboard } = await done("report", ["--run", folder, "--tensorboard"]);
    assert.equal(lastStep(await Deno.readFile(tensorboard as string)), 3);
    const { results, errors, code } = await overheard(() => runCommand(REPORT, ["--run", folder]));
    assert.deepEqual([code, errors], [0, []]);
    assert.match(results.join("\n"), /^steps +3$/m);
    assert.match(
      results.join("\n"),
      /^warning: 1 line of metrics\.jsonl cannot be read and is left out, the first at byte 35$/m,
    );
  }));

Deno.test("doctor: what it found is in its table as in its JSON object, and it succeeds where training can run", async () => {
  const found = await done("doctor", []);
  assert.equal(found.usable, (found.missing as { optional: boolean }[]).every(({ optional }) => optional));
  const { results } = await overheard(() => runCommand(DOCTOR, []));
  const rows = new Map(
    results.join("\n").split("\n").map((line) => line.split(/ {2,}/)).map(([name, value]) => [name, value]),
  );
  const context = found.context as Record<string, unknown>;
  const build = found.build as Record<string, unknown>;
  assert.equal(rows.get("library"), found.libraryPath);
  assert.equal(rows.get("ABI"), found.abi);
  assert.equal(rows.get("target in use"), context.target);
  assert.equal(rows.get("compiler"), build.compiler);
  assert.equal(rows.get("threads in use"), `${context.threads} of ${found.cores} cores`);
  assert.match(results.join("\n"), /All that training needs is here\.$/);
  const { model, methods } = await done("doctor", ["--methods", "--model", MODEL]);
  assert.equal(model, MODEL);
  assert.deepEqual((methods as { method: string }[]).map(({ method }) => method), METHOD_NAMES);
});
