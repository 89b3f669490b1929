// SPDX-License-Identifier: Apache-2.0
/** From a folder of labelled texts to a score: previewed, trained, scored, merged, in a study; and values of pairs. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { DEMO_MODEL, runCommandLine } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

const GOOD = ["lovely", "great", "warm"];
const BAD = ["awful", "grim", "cold"];
const THINGS = ["film", "meal", "day", "book"];

/** Texts whose one word tells their label. */
function texts(words: readonly string[]): string[] {
  return words.flatMap((word) => THINGS.map((thing) => `A ${word} ${thing}.`));
}

async function writeTexts(folder: string): Promise<void> {
  for (const [label, words] of [["bad", BAD], ["good", GOOD]] as const) {
    await Deno.mkdir(`${folder}/${label}`, { recursive: true });
    for (const [i, text] of texts(words).entries()) {
      await Deno.writeTextFile(`${folder}/${label}/${i}.txt`, text);
    }
  }
}

async function run(...args: string[]): Promise<Record<string, never>> {
  const { code, stdout, stderr } = await runCommandLine(...args, "--json");
  strictEqual(code, 0, stderr);
  return JSON.parse(stdout);
}

const LEARNING = [
  "--method",
  "lora",
  "--lr",
  "3e-3",
  "--batch-size",
  "8",
  "--seq-len",
  "32",
  "--dtype",
  "f32",
  "--threads",
  "1",
];

Deno.test("a folder of labelled texts is learnt, scored, merged and scored again to the same", () =>
  withFolder(async (folder) => {
    const data = `${folder}/texts`;
    await writeTexts(data);
    const about = ["--task", "classification", "--model", DEMO_MODEL, "--data", data];
    const { examples } = await run("preview", ...about, "--rows", "1") as unknown as {
      examples: { label: string }[];
    };
    deepStrictEqual(examples.map(({ label }) => label), ["bad"]);
    const trained = await run(
      "train",
      ...about,
      ...LEARNING,
      "--eval-data",
      data,
      "--epochs",
      "12",
      "--out",
      `${folder}/run`,
    ) as never as {
      lossLast: number;
      eval: { loss: number; scores: unknown };
    };
    ok(trained.lossLast < 0.2, `the loss ended at ${trained.lossLast}`);
    const shown = JSON.parse(await Deno.readTextFile(`${folder}/run/examples.json`));
    ok(shown.length > 0);
    for (const { prompt, expected, before, after } of shown) {
      match(prompt, /^A (awful|grim|cold|lovely|great|warm) /);
      deepStrictEqual([before, after], ["", expected[0]]);
    }
    const score = ["--data", data, "--dtype", "f32", "--threads", "1"];
    const { scores, task } = await run(
      "evaluate",
      "--adapter",
      `${folder}/run/adapter`,
      ...score,
    ) as never as {
      task: string;
      scores: Record<string, { mean: number; low: number; high: number; count: number }>;
    };
    strictEqual(task, "classification");
    deepStrictEqual(Object.keys(scores), ["accuracy", "f1-binary", "f1-macro", "matthews"]);
    deepStrictEqual([scores["accuracy"]?.mean, scores["matthews"]?.mean, scores["accuracy"]?.count], [
      1,
      1,
      24,
    ]);
    // The end of the training said the same, and so do its record and its page.
    deepStrictEqual(trained.eval.scores, scores);
    const { evaluation } = JSON.parse(await Deno.readTextFile(`${folder}/run/run.json`));
    deepStrictEqual(evaluation, { loss: trained.eval.loss, of: "24 rows", scores });
    const page = await Deno.readTextFile(`${folder}/run/report.html`);
    match(page, /Scores on the evaluation data.*<td>accuracy<\/td><td class="number">1\.0000<\/td>/s);
    const resumed = await runCommandLine("train", "--resume", "--out", `${folder}/run`, "--epochs", "13");
    match(resumed.stdout, /steps +39\n/);
    match(
      resumed.stdout,
      /metric .*\n.*\nloss +0\.\d+ +24 rows\naccuracy +1\.0000 +0\.\d+ to 1\.0000 +24 rows\n/,
    );
    const merged = await runCommandLine(
      "merge",
      "--adapter",
      `${folder}/run/adapter`,
      "--out",
      `${folder}/merged`,
    );
    strictEqual(merged.code, 0, merged.stderr);
    const config = JSON.parse(await Deno.readTextFile(`${folder}/merged/config.json`));
    deepStrictEqual(
      [config.architectures, config.id2label, config.label2id],
      [["LlamaForSequenceClassification"], { 0: "bad", 1: "good" }, { bad: 0, good: 1 }],
    );
    const again = await run("evaluate", "--model", `${folder}/merged`, ...score) as never as {
      scores: typeof scores;
    };
    strictEqual(again.scores["accuracy"]?.mean, 1);
    const answered = await runCommandLine(
      "generate",
      "--adapter",
      `${folder}/run/adapter`,
      "--prompt",
      "Hello",
    );
    match(answered.stderr, /classification head: it predicts no tokens/);
  }));

Deno.test("labels that the head does not have, scores that a task lacks and a head that is not there are refused by name", () =>
  withFolder(async (folder) => {
    const data = `${folder}/texts`;
    await writeTexts(data);
    const about = ["--task", "classification", "--model", DEMO_MODEL, "--data", data];
    await run("train", ...about, ...LEARNING, "--steps", "1", "--out", `${folder}/run`);
    const other = `${folder}/other.jsonl`;
    await Deno.writeTextFile(other, JSON.stringify({ text: "A dull day.", label: "middling" }));
    const adapter = ["evaluate", "--adapter", `${folder}/run/adapter`, "--data", other];
    const unknown = await runCommandLine(...adapter);
    match(unknown.stderr, /"label" is "middling", expected one of "bad", "good"/);
    const foreign = await runCommandLine(...adapter, "--metric", "pearson");
    match(foreign.stderr, /--metric pearson is no score of classification, which has: loss, accuracy/);
    const headless = await runCommandLine("evaluate", ...about);
    match(headless.stderr, /has no head for classification: train one, and give it with --adapter/);
    const dry = await run("train", ...about, "--dry-run") as never as {
      memory: { trainedParameters: number };
    };
    ok(dry.memory.trainedParameters > 0);
  }));

Deno.test("a study of values of pairs takes the task's scores", () =>
  withFolder(async (folder) => {
    const rows = [...texts(BAD).map((text) => [text, 0]), ...texts(GOOD).map((text) => [text, 2.5])];
    const data = `${folder}/pairs.jsonl`;
    await Deno.writeTextFile(
      data,
      rows.map(([sentence1, label]) => JSON.stringify({ sentence1, sentence2: "It was good.", label })).join(
        "\n",
      ),
    );
    const study = await run(
      ...["ablate", "--task", "regression", "--model", DEMO_MODEL, "--data", data, ...LEARNING],
      ...["--epochs", "10", "--grid", "rank=2,4", "--out", `${folder}/study`],
    ) as never as { configurations: { scores: Record<string, { mean: number }> }[] };
    deepStrictEqual(study.configurations.map(({ scores }) => Object.keys(scores)), [["pearson", "spearman"], [
      "pearson",
      "spearman",
    ]]);
    for (const { scores } of study.configurations) ok((scores["pearson"]?.mean ?? 0) > 0.5);
  }));

Deno.test("questions with choices are learnt, and scored by the likeliest choice, by evaluate and in a study", () =>
  withFolder(async (folder) => {
    const data = `${folder}/choices.jsonl`;
    const rows = THINGS.map((thing, i) => ({
      question: `What of the ${thing}?`,
      choices: { text: ["It was grim.", "It was great."], label: ["A", "B"] },
      answerKey: i % 2 === 0 ? "A" : "B",
    }));
    await Deno.writeTextFile(data, rows.map((row) => JSON.stringify(row)).join("\n"));
    const about = ["--task", "multiple-choice", "--model", DEMO_MODEL, "--data", data];
    const batch = [
      "--method",
      "lora",
      "--lr",
      "5e-3",
      "--epochs",
      "100",
      "--batch-size",
      "4",
      "--seq-len",
      "64",
      "--threads",
      "1",
    ];
    const trained = await run(
      ...["train", ...about, ...batch, "--eval-data", data, "--out", `${folder}/run`],
    ) as never as { eval: { scores: unknown } };
    const evaluated = await run(
      ...["evaluate", ...about, "--adapter", `${folder}/run/adapter`, "--predictions", `${folder}/p.jsonl`],
    ) as never as { scores: Record<string, { mean: number }> };
    deepStrictEqual(
      Object.entries(evaluated.scores).map(([name, { mean }]) => [name, mean]),
      [["accuracy", 1], ["accuracy-norm", 1]],
    );
    deepStrictEqual(trained.eval.scores, evaluated.scores);
    const lines = (await Deno.readTextFile(`${folder}/p.jsonl`)).trim().split("\n").map((line) =>
      JSON.parse(line)
    );
    deepStrictEqual(lines.map(({ chosen }) => chosen.accuracy), [0, 1, 0, 1]);
    const study = await run("ablate", ...about, ...batch, "--out", `${folder}/study`) as never as {
      configurations: { scores: Record<string, { mean: number }> }[];
    };
    strictEqual(study.configurations[0]?.scores["accuracy"]?.mean, 1);
  }));
