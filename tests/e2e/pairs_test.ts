// SPDX-License-Identifier: Apache-2.0
/** From rows of two texts to answers: previewed, trained, scored, asked, merged and gone on with; by commands alone. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { runCommandLine } from "./command.ts";
import { writeRows } from "./chat_model.ts";
import { withFolder } from "../fixtures/folder.ts";
import { pairModel, WORDS } from "../fixtures/pair_model.ts";

/** What is written is what was read, the other way round. */
const ROWS = Array.from({ length: 24 }, (_, i) => {
  const words = Array.from(
    { length: 1 + i % 3 },
    (_, at) => WORDS[(3 * i + 5 * at) % WORDS.length] as string,
  );
  return { document: words.join(" "), summary: words.reverse().join(" ") };
});

async function run(...args: string[]): Promise<Record<string, never>> {
  const { code, stdout, stderr } = await runCommandLine(...args, "--json");
  strictEqual(code, 0, stderr);
  return JSON.parse(stdout);
}

type Scores = Record<string, { mean: number; low: number; high: number; count: number }>;

Deno.test("pairs are learnt by an encoder-decoder without being told so, scored, asked, merged and gone on with", () =>
  withFolder(async (folder) => {
    const model = await pairModel(folder);
    const data = await writeRows(`${folder}/pairs.jsonl`, ROWS);
    const machine = ["--dtype", "f32", "--threads", "1", "--device", "cpu"];
    const shown = await runCommandLine("preview", "--model", model, "--data", data, "--rows", "2");
    match(
      shown.stdout,
      /\.jsonl:1 {2}3 tokens to read, 3 tokens, 3 of them targets\n<s>\| a\| <\/s>\n⟦<s>\| a\| <\/s>⟧\n/,
    );
    const trained = await run(
      ...["train", "--model", model, "--data", data, "--eval-data", data, "--method", "full", "--lr", "2e-2"],
      ...["--seq-len", "12", "--batch-size", "8", "--epochs", "80", "--out", `${folder}/run`, ...machine],
    ) as never as { lossFirst: number; lossLast: number };
    ok(
      trained.lossLast < trained.lossFirst / 4,
      `the loss went from ${trained.lossFirst} to ${trained.lossLast}`,
    );
    const about = ["--adapter", `${folder}/run/adapter`, "--data", data, "--seq-len", "12", ...machine];
    const names = ["loss", "exact-match", "bleu", "chrf", "rouge-1", "rouge-2", "rouge-l"];
    const found = await run("evaluate", ...about, "--metric", ...names, "--max-new-tokens", "8") as never as {
      loss: number;
      scores: Scores;
    };
    ok(found.loss < 0.5, `the loss is ${found.loss}`);
    ok((found.scores["exact-match"]?.mean ?? 0) > 0.5, JSON.stringify(found.scores));
    strictEqual(found.scores["bleu"]?.count, ROWS.length);
    const beams = ["--beams", "3", "--length-penalty", "0.5", "--max-new-tokens", "8"];
    const written = `${folder}/answers.jsonl`;
    const searched = await run(
      ...["evaluate", ...about, ...beams, "--metric", "rouge-l", "--predictions", written],
    ) as never as { scores: Scores };
    ok((searched.scores["rouge-l"]?.mean ?? 0) > 0.5);
    const predictions = (await Deno.readTextFile(written)).trim().split("\n").map((line) => JSON.parse(line));
    // Asked one by one: the same answers as those of many at once.
    const asked = ROWS[7]?.document as string;
    const one = await run(
      "generate",
      ...about.slice(0, 2),
      ...machine,
      ...beams,
      "--prompt",
      asked,
    ) as never as {
      text: string;
      prompt: string;
    };
    strictEqual(one.text.trim(), predictions[7].prediction);
    const merged = await runCommandLine("merge", ...about.slice(0, 2), "--out", `${folder}/merged`);
    strictEqual(merged.code, 0, merged.stderr);
    const again = await run(
      ...["evaluate", "--model", `${folder}/merged`, ...about.slice(2), ...beams, "--metric", "rouge-l"],
    ) as never as { scores: Scores };
    deepStrictEqual(again.scores, searched.scores);
    const resumed = await runCommandLine("train", "--resume", "--out", `${folder}/run`, "--epochs", "81");
    match(resumed.stdout, /steps +243\n/);
    const examples = JSON.parse(await Deno.readTextFile(`${folder}/run/examples.json`));
    ok(examples.length > 0 && examples[0].expected[0] === ROWS[0]?.summary, JSON.stringify(examples[0]));
  }));

Deno.test("LoRA and sparse rows of an encoder-decoder are trained, and a dry run knows both lengths", () =>
  withFolder(async (folder) => {
    const model = await pairModel(folder);
    const data = await writeRows(`${folder}/pairs.jsonl`, ROWS);
    const about = [
      "--model",
      model,
      "--data",
      data,
      "--seq-len",
      "12",
      "--batch-size",
      "8",
      "--dtype",
      "f32",
    ];
    for (
      const method of [["lora", "--rank", "4"], [
        "sparse",
        "--neurons",
        "16",
        "--experts",
        "4",
        "--top-k",
        "4",
      ]]
    ) {
      const settings = [...about, "--method", ...method, "--steps", "3", "--threads", "1"];
      const dry = await run("train", ...settings, "--dry-run", "--out", `${folder}/dry`);
      const { load } = dry as never as { load: Record<string, number> };
      deepStrictEqual([load.tokens, load.sourceTokens, load.targets], [32, 32, 32]);
      const { lossLast } = await run("train", ...settings, "--out", `${folder}/${method[0]}`) as never as {
        lossLast: number;
      };
      ok(Number.isFinite(lossLast));
    }
  }));

Deno.test("an mBART writes in the language that is chosen, and what does not suit a model is refused by name", () =>
  withFolder(async (folder) => {
    const [bart, mbart] = [await pairModel(folder), await pairModel(folder, "mbart")];
    const data = await writeRows(`${folder}/pairs.jsonl`, ROWS);
    const ask = ["generate", "--model", mbart, "--prompt", "a b", "--max-new-tokens", "3", "--dtype", "f32"];
    const of = async (...more: string[]): Promise<string> => {
      const kept = `${folder}/answers.jsonl`;
      await run(...ask, "--predictions", kept, ...more);
      return JSON.parse(await Deno.readTextFile(kept)).prompt;
    };
    match(await of("--src-lang", "ro_RO"), /^a b<\/s> ?ro_RO$/);
    match(await of(), /^a b<\/s> ?en_XX$/);
    const refused = async (...args: string[]) => {
      const { code, stderr } = await runCommandLine(...args);
      ok(code !== 0, stderr);
      return stderr;
    };
    match(await refused(...ask, "--tgt-lang", "de_D"), /has no language "de_D"; did you mean "de_DE"\?/);
    match(
      await refused("generate", "--model", bart, "--prompt", "a", "--src-lang", "de_DE"),
      /no tokens of languages/,
    );
    const other = ["preview", "--model", bart, "--data", data];
    match(
      await refused(...other, "--task", "causal-lm"),
      /task causal-lm is for one that goes on with what it reads/,
    );
    match(await refused(...other, "--system", "Be brief."), /--system: an encoder-decoder reads a text/);
    const rows = await writeRows(`${folder}/languages.jsonl`, [{ translation: { en: "a", de: "b" } }]);
    match(await refused("preview", "--model", bart, "--data", rows), /"translation" has "en", "de": choose/);
    const both = await run(
      "preview",
      "--model",
      bart,
      "--data",
      rows,
      "--source-field",
      "de",
      "--target-field",
      "en",
    );
    strictEqual((both as never as { rowsUsed: number }).rowsUsed, 1);
  }));
