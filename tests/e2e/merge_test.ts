// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { DEMO_FACTS, DEMO_MODEL, DEMO_ROWS, runCommandLine, SMALL_RUN } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

Deno.test("merge writes a checkpoint that evaluates as model and adapter do, says how close, and refuses the rest", () =>
  withFolder(async (folder) => {
    const train = ["train", ...DEMO_ROWS, "--batch-size", "8"];
    const trained = await runCommandLine(
      ...[...train, "--method", "parallel", "--neurons", "32", "--lr", "5e-3", "--steps", "8"],
      ...["--out", `${folder}/run`],
    );
    strictEqual(trained.code, 0, trained.stderr);
    const [adapter, out] = [`${folder}/run/adapter`, `${folder}/merged`];
    const model = `${folder}/model`;
    Deno.mkdirSync(`${model}/additional_chat_templates`, { recursive: true });
    for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
      Deno.copyFileSync(`${DEMO_MODEL}/${name}`, `${model}/${name}`);
    }
    Deno.writeTextFileSync(`${model}/additional_chat_templates/default.jinja`, "{{ messages[0].content }}");
    const merge = (...flags: string[]) => runCommandLine("merge", "--model", model, "--json", ...flags);
    const merged = await merge("--adapter", adapter, "--out", out);
    strictEqual(merged.code, 0, merged.stderr);
    const report = JSON.parse(merged.stdout);
    ok(report.comparison.agrees && report.comparison.largestDifference > 0, merged.stdout);
    match(merged.stderr, /largest difference/);
    strictEqual(
      Deno.readTextFileSync(`${out}/additional_chat_templates/default.jinja`),
      "{{ messages[0].content }}",
    );
    Deno.removeSync(`${out}/additional_chat_templates`, { recursive: true }); // it hides the answers

    const loss = async (...flags: string[]) => {
      const evaluated = await runCommandLine("evaluate", ...flags, "--data", DEMO_FACTS, "--json");
      strictEqual(evaluated.code, 0, evaluated.stderr);
      return JSON.parse(evaluated.stdout).loss as number;
    };
    const [together, alone, base] = [
      await loss("--model", DEMO_MODEL, "--adapter", adapter),
      await loss("--model", out),
      await loss("--model", DEMO_MODEL),
    ];
    ok(Math.abs(alone - together) < 0.02 * Math.abs(base - together), `${base} ${together} ${alone}`);

    const again = await merge("--adapter", adapter, "--out", out);
    strictEqual(again.code, 2);
    match(again.stderr, /merged is not empty/);
    const unsaid = await merge("--dtype", "int8");
    strictEqual(unsaid.code, 2);
    match(unsaid.stderr, /--dtype is "int8"/);
    const missing = await merge();
    for (const flag of ["--adapter", "--out"]) match(missing.stderr, new RegExp(`${flag} is needed`));

    const sparse = await runCommandLine("train", ...SMALL_RUN, "--steps", "1", "--out", `${folder}/sparse`);
    strictEqual(sparse.code, 0, sparse.stderr);
    const refused = await merge("--adapter", `${folder}/sparse/adapter`, "--out", `${folder}/none`);
    strictEqual(refused.code, 2);
    match(refused.stderr, /cannot be merged .* no fixed matrix/);
    deepStrictEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
      "merged",
      "model",
      "run",
      "sparse",
    ]);
  }));
