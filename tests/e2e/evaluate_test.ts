// SPDX-License-Identifier: Apache-2.0
/** What evaluate makes of thoughts, of prompts that are too long, and of weights that are no numbers. */
import { deepStrictEqual, doesNotMatch, match, strictEqual } from "node:assert/strict";
import { chatModel, writeRows } from "./chat_model.ts";
import { DEMO_MODEL, runCommandLine } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

Deno.test("evaluate gives full marks to a model that says exactly the row's thoughts and answer", () =>
  withFolder(async (folder) => {
    const model = await chatModel(folder);
    const content = "<think>\ntwo and two make\n</think>\n\n4 apples";
    const messages = [{ role: "user", content: "What is two and two?" }, { role: "assistant", content }];
    const data = await writeRows(`${folder}/think.jsonl`, [{ messages }]);
    const learning = [
      ...["--model", model, "--data", data, "--method", "full"],
      ...["--lr", "2e-3", "--schedule", "constant"],
    ];
    const trained = await runCommandLine(
      "train",
      ...learning,
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
    // Cells of a study end answers at a line's end: those of thoughts do not count.
    const study = await runCommandLine(
      "ablate",
      ...learning,
      ...["--batch-size", "1", "--micro-batch-size", "1", "--steps", "40", "--max-new-tokens", "64"],
      ...["--out", `${folder}/study`, "--threads", "1", "--json"],
    );
    strictEqual(study.code, 0, study.stderr);
    strictEqual(JSON.parse(study.stdout).configurations[0].scores["exact-match"].mean, 1);
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

/** The demo's model with one element of a tensor replaced, its 16 bits as given. */
async function modelWithBits(folder: string, tensor: string, element: number, bits: number): Promise<string> {
  const model = `${folder}/broken`;
  await Deno.mkdir(model);
  for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
    if (name !== "model.safetensors") await Deno.symlink(`${DEMO_MODEL}/${name}`, `${model}/${name}`);
  }
  const bytes = await Deno.readFile(`${DEMO_MODEL}/model.safetensors`);
  const view = new DataView(bytes.buffer);
  const headerBytes = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)));
  const [begin] = header[tensor].data_offsets;
  view.setUint16(8 + headerBytes + begin + 2 * element, bits, true);
  await Deno.writeFile(`${model}/model.safetensors`, bytes);
  return model;
}

const BF16_NAN = 0x7fc0;
const BF16_HUGE = 0x7f7f;

Deno.test("evaluate, generate, train, ablate and merge name the tensor that holds NaN, and exit with 1", () =>
  withFolder(async (folder) => {
    const model = await modelWithBits(folder, "model.layers.2.mlp.down_proj.weight", 515, BF16_NAN);
    const rows = [{ question: "Who founded Miawick?", answer: "Loahel" }, { question: "q", answer: "a" }];
    const data = await writeRows(`${folder}/rows.jsonl`, rows);
    const small = ["--neurons", "16", "--steps", "1", "--seq-len", "64"];
    const trained = await runCommandLine(
      ...[
        "train",
        "--model",
        DEMO_MODEL,
        "--data",
        data,
        "--method",
        "lora",
        "--steps",
        "1",
        "--examples",
        "0",
      ],
      ...["--out", `${folder}/run`, "--threads", "1"],
    );
    strictEqual(trained.code, 0, trained.stderr);
    const commands = [
      ["evaluate", "--data", data, "--json"],
      ["evaluate", "--data", data, "--metric", "f1", "--json"],
      ["generate", "--prompt", "q", "--json"],
      ["train", "--data", data, ...small, "--examples", "0", "--out", `${folder}/a`, "--json"],
      ["train", "--data", data, ...small, "--out", `${folder}/b`, "--json"],
      ["ablate", "--data", data, ...small, "--out", `${folder}/c`],
      ["merge", "--adapter", `${folder}/run/adapter`, "--out", `${folder}/d`, "--force", "--json"],
    ];
    // The second row of a matrix of 512 columns, its fourth element.
    const said =
      /Tensor "model\.layers\.2\.mlp\.down_proj\.weight" of \S*broken\/model\.safetensors holds NaN at \[1, 3\]/;
    for (const [name = "", ...args] of commands) {
      const { code, stdout, stderr } = await runCommandLine(
        name,
        "--model",
        model,
        ...args,
        "--threads",
        "1",
      );
      match(name === "ablate" ? stdout : stderr, said, `${name} ${args.join(" ")}`);
      strictEqual(code, 1, name);
      doesNotMatch(stderr, /\n\s+at /, "no stack");
      if (args.includes("--json")) strictEqual(JSON.parse(stdout).error.kind, "not-finite", name);
      else if (name !== "ablate") strictEqual(stdout, "");
    }
    const { stderr } = await runCommandLine("evaluate", "--model", model, "--data", data, "--threads", "1");
    match(stderr, /^The loss of \S*rows\.jsonl:1,2 is NaN\. /);
  }));

Deno.test("evaluate names the tensor of an adapter that holds infinity", () =>
  withFolder(async (folder) => {
    const data = await writeRows(`${folder}/rows.jsonl`, [{ question: "q", answer: "a" }]);
    const flags = ["--method", "lora", "--target", "q", "--steps", "1", "--examples", "0", "--threads", "1"];
    const model = ["--model", DEMO_MODEL, "--data", data];
    const trained = await runCommandLine("train", ...model, ...flags, "--out", `${folder}/run`);
    strictEqual(trained.code, 0, trained.stderr);
    const path = `${folder}/run/adapter/adapter_model.safetensors`;
    const bytes = await Deno.readFile(path);
    new DataView(bytes.buffer).setFloat32(bytes.length - 4, Infinity, true);
    await Deno.writeFile(path, bytes);
    const { code, stderr } = await runCommandLine(
      ...["evaluate", ...model, "--adapter", `${folder}/run/adapter`, "--threads", "1"],
    );
    strictEqual(code, 1, stderr);
    match(
      stderr,
      /The loss of \S*rows\.jsonl:1 is (NaN|Infinity)\. Tensor "\S+" of \S+adapter_model\.safetensors holds Infinity at \[/,
    );
  }));

Deno.test("evaluate says that a finite checkpoint overflowed, and by which weight", () =>
  withFolder(async (folder) => {
    const model = await modelWithBits(folder, "model.layers.0.input_layernorm.weight", 3, BF16_HUGE);
    const data = await writeRows(`${folder}/rows.jsonl`, [{ question: "q", answer: "a" }]);
    for (const [dtype, remedy] of [["bf16", /--dtype f32/], ["f32", /too large for f32/]] as const) {
      const { code, stderr } = await runCommandLine(
        ...["evaluate", "--model", model, "--data", data, "--dtype", dtype, "--threads", "1"],
      );
      strictEqual(code, 1, stderr);
      match(stderr, /All 38 tensors of the checkpoint are finite \(the largest value is 3\.38\d+e\+38 in /);
      match(stderr, /in "model\.layers\.0\.input_layernorm\.weight" of .*, so the computation overflowed: /);
      match(stderr, remedy);
    }
  }));
