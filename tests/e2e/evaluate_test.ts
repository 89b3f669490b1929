// SPDX-License-Identifier: Apache-2.0
/** What evaluate makes of thoughts, of prompts that are too long, and of weights that are no numbers. */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { DEMO_MODEL, runCommandLine } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

/** A reasoning model's template: without thinking, the prompt closes an empty thought; earlier thoughts are left out. */
const THINKING_TEMPLATE = `{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' and not loop.last -%}{{- message.content.split('</think>')[-1].lstrip('\\n') -}}
{%- else -%}{{- message.content -}}{%- endif -%}
{{- eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}`;

/** The demo's model in a folder of its own, with a chat template. */
async function modelWithTemplate(folder: string, template: string): Promise<string> {
  const model = `${folder}/model`;
  await Deno.mkdir(model);
  for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
    await Deno.symlink(`${DEMO_MODEL}/${name}`, `${model}/${name}`);
  }
  await Deno.writeTextFile(`${model}/chat_template.jinja`, template);
  return model;
}

async function writeRows(path: string, rows: readonly unknown[]): Promise<string> {
  await Deno.writeTextFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

Deno.test("evaluate gives full marks to a model that says exactly the row's thoughts and answer", () =>
  withFolder(async (folder) => {
    const model = await modelWithTemplate(folder, THINKING_TEMPLATE);
    const content = "<think>\ntwo and two make\n</think>\n\n4 apples";
    const messages = [{ role: "user", content: "What is two and two?" }, { role: "assistant", content }];
    const data = await writeRows(`${folder}/think.jsonl`, [{ messages }]);
    const trained = await runCommandLine(
      ...[
        "train",
        "--model",
        model,
        "--data",
        data,
        "--method",
        "full",
        "--lr",
        "2e-3",
        "--schedule",
        "constant",
      ],
      ...[
        "--batch-size",
        "1",
        "--micro-batch-size",
        "1",
        "--steps",
        "40",
        "--examples",
        "0",
        "--quiet",
        "--threads",
        "1",
      ],
      ...["--out", `${folder}/run`],
    );
    strictEqual(trained.code, 0, trained.stderr);
    const predictions = `${folder}/predictions.jsonl`;
    const evaluated = await runCommandLine(
      ...["evaluate", "--model", model, "--adapter", `${folder}/run/adapter`, "--data", data],
      ...["--metric", "exact-match", "f1", "--predictions", predictions, "--json", "--threads", "1"],
    );
    strictEqual(evaluated.code, 0, evaluated.stderr);
    const { prediction, answers, text } = JSON.parse(Deno.readTextFileSync(predictions));
    strictEqual(text, content);
    deepStrictEqual([prediction, answers], ["4 apples", ["4 apples"]]);
    const { scores } = JSON.parse(evaluated.stdout);
    deepStrictEqual([scores["exact-match"].mean, scores.f1.mean], [1, 1]);
  }));

Deno.test("evaluate and ablate name prompts that are too long by file and line, and skip them when asked", () =>
  withFolder(async (folder) => {
    const long = "word ".repeat(600).trim();
    const rows = [["Who founded Miawick?", "Loahel"], [long, "a"], [
      "Where was Wiori Hemik born?",
      "Fiaholm",
    ]];
    const data = await writeRows(
      `${folder}/mix.jsonl`,
      rows.map(([question, answer]) => ({ question, answer })),
    );
    const said = /mix\.jsonl:2: the prompt has \d+ tokens, and the model has room for 512, answer included/;
    const scored = [
      "evaluate",
      "--model",
      DEMO_MODEL,
      "--data",
      data,
      "--metric",
      "f1",
      "--max-new-tokens",
      "2",
      "--threads",
      "1",
    ];
    const alone = await runCommandLine(...scored);
    strictEqual(alone.code, 2);
    match(alone.stderr, /^1 of 3 rows cannot be used/);
    match(alone.stderr, said);
    const predictions = `${folder}/predictions.jsonl`;
    const skipped = await runCommandLine(
      ...[...scored, "--bad-rows", "skip", "--predictions", predictions, "--json", "--limit", "2"],
    );
    strictEqual(skipped.code, 0, skipped.stderr);
    match(skipped.stderr, /^left out: over-long +1$/m);
    const { scores, questions } = JSON.parse(skipped.stdout);
    deepStrictEqual(questions, { rowsRead: 3, rowsUsed: 2, badRows: { "over-long": 1 } });
    strictEqual(scores.f1.count, 2);
    const lines = Deno.readTextFileSync(predictions).trimEnd().split("\n");
    deepStrictEqual(lines.map((line) => JSON.parse(line).place.line), [1, 3]);

    const study = ["ablate", "--model", DEMO_MODEL, "--data", data, "--steps", "1", "--neurons", "16"];
    const cells = ["--out", `${folder}/study`, "--max-new-tokens", "2", "--seq-len", "64", "--threads", "1"];
    const unfit = await runCommandLine(...study, ...cells);
    strictEqual(unfit.code, 2);
    match(unfit.stderr, /mix\.jsonl:2/);
    const listed = await runCommandLine(...study, ...cells, "--bad-rows", "skip", "--json");
    strictEqual(listed.code, 0, listed.stderr);
    const [{ scores: means }] = JSON.parse(listed.stdout).configurations;
    strictEqual(means["exact-match"].count, 2);
  }));
