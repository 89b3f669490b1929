// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

const RUN = ["train", "--model", DEMO_MODEL, "--data", DEMO_FACTS, "--seq-len", "64", "--batch-size", "8"];

Deno.test("train --method lora writes PEFT's files, and goes on from them with --adapter", () =>
  withFolder(async (folder) => {
    const flags = [
      "--rank",
      "4",
      "--lora-alpha",
      "8",
      "--lora-dropout",
      "0.1",
      "--rslora",
      "--target",
      "q,v,down",
    ];
    const first = await runCommandLine(
      ...RUN,
      ...[
        "--method",
        "lora",
        ...flags,
        "--steps",
        "30",
        "--lr",
        "5e-3",
        "--out",
        `${folder}/first`,
        "--json",
      ],
    );
    strictEqual(first.code, 0, first.stderr);
    const config = JSON.parse(Deno.readTextFileSync(`${folder}/first/adapter/adapter_config.json`));
    strictEqual(config.peft_type, "LORA");
    deepStrictEqual(
      [config.r, config.lora_alpha, config.lora_dropout, config.use_rslora, config.target_modules],
      [4, 8, 0.1, true, ["q_proj", "v_proj", "down_proj"]],
    );

    const second = await runCommandLine(
      ...RUN,
      ...["--adapter", `${folder}/first/adapter`, "--steps", "2", "--out", `${folder}/second`, "--json"],
    );
    strictEqual(second.code, 0, second.stderr);
    const [before, after] = [first, second].map(({ stdout }) => JSON.parse(stdout));
    ok(after.lossFirst < before.lossFirst - 0.05, `${before.lossFirst} at first, then ${after.lossFirst}`);
    strictEqual(after.adapterParameters, before.adapterParameters);
    const record = JSON.parse(Deno.readTextFileSync(`${folder}/second/run.json`));
    deepStrictEqual([record.method, record.start], ["lora", `${folder}/first/adapter`]);
  }));

Deno.test("train refuses flags of another method by name, targets that do not exist, and sizes beside --adapter", () =>
  withFolder(async (folder) => {
    const mixed = await runCommandLine(...RUN, "--method", "lora", "--top-k", "4");
    strictEqual(mixed.code, 2);
    match(mixed.stderr, /--top-k does not apply to --method lora/);
    const unknown = await runCommandLine(
      ...RUN,
      "--method",
      "lora",
      "--target",
      "q,w_proj",
      "--rank-pattern",
      "k=2",
    );
    strictEqual(unknown.code, 2);
    match(
      unknown.stderr,
      /targets has "w_proj", which is the end of no module's name .*q, k, v, o, gate, up, down/,
    );
    match(unknown.stderr, /rankPattern has "k_proj", which matches no weight that gets a delta/);
    const foreign = await runCommandLine(...RUN, "--rank", "4", "--rslora");
    strictEqual(foreign.code, 2);
    match(foreign.stderr, /--rank does not apply to --method sparse, only to lora/);
    match(foreign.stderr, /--rslora does not apply to --method sparse/);
    const out = `${folder}/run`;
    const made = await runCommandLine(...RUN, "--method", "lora", "--steps", "1", "--out", out);
    strictEqual(made.code, 0, made.stderr);
    const sized = await runCommandLine(
      ...RUN,
      "--adapter",
      `${out}/adapter`,
      "--rank",
      "2",
      "--neurons",
      "8",
    );
    strictEqual(sized.code, 2);
    match(sized.stderr, /--rank does not apply with --adapter, which brings its own/);
    match(sized.stderr, /--neurons does not apply to --method lora, only to sparse, parallel, /);
  }));

Deno.test("train --method lora with a pattern, excluded weights, layers, ranks and alphas: saved as PEFT has them, and read again", () =>
  withFolder(async (folder) => {
    const short = ["--steps", "2", "--json"];
    const pattern = await runCommandLine(
      ...[...RUN, "--method", "lora", "--target", ".*\\.[0-9]{1,2}\\.(self_attn\\.q|mlp\\.down)_proj"],
      ...[
        "--exclude-target",
        "1.mlp.down_proj",
        "--rank-pattern",
        "q=3",
        "layers\\.0\\..*=5",
        "--alpha-pattern",
      ],
      ...["down_proj=2.5", ...short, "--out", `${folder}/pattern`],
    );
    strictEqual(pattern.code, 0, pattern.stderr);
    const saved = JSON.parse(Deno.readTextFileSync(`${folder}/pattern/adapter/adapter_config.json`));
    deepStrictEqual(
      [saved.target_modules, saved.exclude_modules, saved.rank_pattern, saved.alpha_pattern],
      [".*\\.[0-9]{1,2}\\.(self_attn\\.q|mlp\\.down)_proj", ["1.mlp.down_proj"], {
        "q_proj": 3,
        "layers\\.0\\..*": 5,
      }, { down_proj: 2.5 }],
    );
    const record = JSON.parse(Deno.readTextFileSync(`${folder}/pattern/run.json`));
    deepStrictEqual(record.identity.adapter.rankPattern, { "q_proj": 3, "layers\\.0\\..*": 5 });
    strictEqual(record.identity.adapter.targets, saved.target_modules);
    const layers = await runCommandLine(
      ...[...RUN, "--method", "lora", "--layers-to-transform", "1", ...short, "--out", `${folder}/layers`],
    );
    strictEqual(layers.code, 0, layers.stderr);
    const config = JSON.parse(Deno.readTextFileSync(`${folder}/layers/adapter/adapter_config.json`));
    deepStrictEqual([config.layers_to_transform, config.target_modules.length], [[1], 7]);
    const measured = await runCommandLine(
      ...["evaluate", "--model", DEMO_MODEL, "--data", DEMO_FACTS, "--limit", "4", "--json"],
      ...["--adapter", `${folder}/pattern/adapter`],
    );
    strictEqual(measured.code, 0, measured.stderr);
  }));

Deno.test("evaluate, generate, merge and train find an adapter's base by themselves, from any folder and after a move", () =>
  withFolder(async (folder) => {
    await Deno.mkdir(`${folder}/work/models/base`, { recursive: true });
    for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
      await Deno.copyFile(`${DEMO_MODEL}/${name}`, `${folder}/work/models/base/${name}`);
    }
    // Not the demo's any more, by the hash.
    await Deno.writeTextFile(`${folder}/work/models/base/config.json`, "\n", { append: true });
    const data = ["--data", DEMO_FACTS, "--seq-len", "64"];
    const trained = await runCommandLine(
      ...["train", "--model", `${folder}/work/models/base`, ...data, "--method", "lora", "--rank", "2"],
      ...["--batch-size", "8", "--lr", "1e-2", "--steps", "3", "--out", `${folder}/work/run`],
    );
    strictEqual(trained.code, 0, trained.stderr);
    await Deno.rename(`${folder}/work`, `${folder}/moved`);
    const [adapter, model] = [`${folder}/moved/run/adapter`, `${folder}/moved/models/base`];
    const run = async (...args: string[]) => {
      const result = await runCommandLine(...args, "--json");
      strictEqual(result.code, 0, result.stderr);
      doesNotMatch(result.stderr, /Warning/);
      return JSON.parse(result.stdout);
    };
    const scored = ["evaluate", "--adapter", adapter, ...data, "--limit", "8"];
    strictEqual((await run(...scored)).loss, (await run(...scored, "--model", model)).loss);
    const asked = ["generate", "--adapter", adapter, "--prompt", "Question:", "--max-new-tokens", "4"];
    strictEqual((await run(...asked)).text, (await run(...asked, "--model", model)).text);
    await run("merge", "--adapter", adapter, "--out", `${folder}/merged`);
    await run(
      "train",
      "--adapter",
      adapter,
      ...data,
      "--batch-size",
      "8",
      "--steps",
      "1",
      "--out",
      `${folder}/on`,
    );
    strictEqual(
      JSON.parse(Deno.readTextFileSync(`${folder}/on/run.json`)).base.name,
      Deno.realPathSync(model),
    );

    await Deno.rename(model, `${folder}/gone`);
    for (const args of [scored, asked, ["merge", "--adapter", adapter, "--out", `${folder}/x`]]) {
      const lost = await runCommandLine(...args);
      strictEqual(lost.code, 2);
      match(
        lost.stderr,
        /The base model of adapter .* is .*base, and there is no such folder here: give the folder/,
      );
    }
    strictEqual((await run(...scored, "--model", `${folder}/gone`)).loss > 0, true);
  }));
