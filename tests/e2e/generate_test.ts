// SPDX-License-Identifier: Apache-2.0
/** What generate asks: prompts as transformers' apply_chat_template writes them, files of prompts, text as it is typed. */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { chatModel, THINKING_TEMPLATE, writeRows } from "./chat_model.ts";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine, spawnWithInput } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

const SHORT = ["--max-new-tokens", "2", "--threads", "1"];

interface Prediction {
  readonly place: { readonly line: number } | null;
  readonly prompt: string;
  readonly text: string;
}

async function generate(folder: string, ...args: string[]): Promise<Prediction[]> {
  const predictions = `${folder}/predictions.jsonl`;
  const { code, stderr } = await runCommandLine("generate", ...SHORT, "--predictions", predictions, ...args);
  strictEqual(code, 0, stderr);
  return Deno.readTextFileSync(predictions).trimEnd().split("\n").map((line) => JSON.parse(line));
}

const EMPTY_THOUGHT = "<think>\n\n</think>\n\n";
const TURN = "<|im_start|>user\nSay \\n.\n</s>\n<|im_start|>assistant\n";

Deno.test("generate asks what apply_chat_template gives with add_generation_prompt, backslashes as typed", () =>
  withFolder(async (folder) => {
    const model = await chatModel(folder);
    // By transformers 5.24.0 for this template; thinking is what it sees as enable_thinking.
    const cases: readonly [args: readonly string[], prompt: string][] = [
      [[], `${TURN}${EMPTY_THOUGHT}`],
      [["--thinking", "on"], TURN],
      [["--thinking", "off"], `${TURN}${EMPTY_THOUGHT}`],
      [["--system", "Be brief."], `<|im_start|>system\nBe brief.</s>\n${TURN}${EMPTY_THOUGHT}`],
      [["--template-option", "today=Monday"], `Today is Monday\n${TURN}${EMPTY_THOUGHT}`],
    ];
    for (const [args, prompt] of cases) {
      const [asked] = await generate(folder, "--model", model, "--prompt", "Say \\n.\n", ...args);
      deepStrictEqual([asked?.prompt, asked?.place], [prompt, null]);
    }
    // The same template for a model that has none.
    const own = `${folder}/own.jinja`;
    await Deno.writeTextFile(own, THINKING_TEMPLATE);
    const args = ["--model", DEMO_MODEL, "--prompt", "Say \\n.\n"];
    const [asked] = await generate(folder, ...args, "--chat-template", own);
    strictEqual(asked?.prompt, `${TURN}${EMPTY_THOUGHT}`);
    const [plain] = await generate(folder, ...args);
    strictEqual(plain?.prompt, "<s>Say \\n.\n");
    const [off] = await generate(folder, "--model", model, "--prompt", "x", "--chat-template", "off");
    strictEqual(off?.prompt, "<s>x");
  }));

Deno.test("generate answers a file of prompts, rows of every shape or a prompt a line, as it answers each alone", () =>
  withFolder(async (folder) => {
    const model = ["--model", await chatModel(folder)];
    const user = (text: string) => `<|im_start|>user\n${text}</s>\n`;
    const assistant = "<|im_start|>assistant\n";
    const ask = (text: string) => `${user(text)}${assistant}${EMPTY_THOUGHT}`;
    const turns = [{ role: "user", content: "a" }, { role: "assistant", content: "b" }];
    const rows: readonly [row: unknown, prompt: string][] = [
      [{ prompt: "a" }, ask("a")],
      [{ question: "a", answer: "b" }, ask("a")],
      [{ instruction: "a", input: "b" }, ask("a\n\nb")],
      [{ messages: turns }, ask("a")],
      [
        { messages: [...turns, { role: "user", content: "c" }] },
        `${user("a")}${assistant}b</s>\n${ask("c")}`,
      ],
      [
        { messages: [...turns, { role: "assistant", content: "d", weight: 0 }] },
        `${user("a")}${assistant}b</s>\n${assistant}${EMPTY_THOUGHT}`,
      ],
      [{ conversations: [{ from: "human", value: "a" }] }, ask("a")],
      [{ prompt: [{ role: "user", content: "a" }] }, ask("a")],
      [{ text: "a" }, "<s>a"],
    ];
    const file = await writeRows(`${folder}/rows.jsonl`, rows.map(([row]) => row));
    const asked = await generate(folder, ...model, "--prompts", file, "--micro-batch-size", "4");
    deepStrictEqual(asked.map(({ prompt }) => prompt), rows.map(([, prompt]) => prompt));
    deepStrictEqual(asked.map(({ place }) => place?.line), rows.map((_, i) => i + 1));

    const lines = `${folder}/prompts.txt`;
    await Deno.writeTextFile(lines, "Who are you?\r\n\n{not JSON\n  a\\nb\n");
    const typed = ["Who are you?", "{not JSON", "  a\\nb"];
    const several = await generate(folder, ...model, "--prompts", lines);
    deepStrictEqual(several.map(({ prompt }) => prompt), typed.map(ask));
    for (const [i, prompt] of typed.entries()) {
      const [alone] = await generate(folder, ...model, "--prompt", prompt);
      deepStrictEqual([alone?.prompt, alone?.text], [several[i]?.prompt, several[i]?.text]);
    }
  }));

Deno.test("generate names prompts of a file that cannot be asked by line, and skips them when asked", () =>
  withFolder(async (folder) => {
    const file = `${folder}/mix.jsonl`;
    const long = JSON.stringify({ prompt: "word ".repeat(600) });
    await Deno.writeTextFile(file, `{"prompt":"a"}\n${long}\n{broken\n{"answer":"b"}\n`);
    const flags = ["generate", "--model", DEMO_MODEL, "--prompts", file, ...SHORT, "--json"];
    const stopped = await runCommandLine(...flags);
    strictEqual(stopped.code, 2);
    match(stopped.stderr, /^3 of 4 rows cannot be used/);
    match(
      stopped.stderr,
      /mix\.jsonl:2: the prompt has \d+ tokens, and the model has room for 512, answer incl/,
    );
    match(stopped.stderr, /mix\.jsonl:3: the line is not JSON/);
    match(stopped.stderr, /mix\.jsonl:4: the row has only "answer"/);
    const skipped = await runCommandLine(...flags, "--bad-rows", "skip");
    strictEqual(skipped.code, 0, skipped.stderr);
    const { answers, rowsRead, rowsUsed, badRows } = JSON.parse(skipped.stdout);
    deepStrictEqual([answers.length, rowsRead, rowsUsed], [1, 4, 1]);
    deepStrictEqual(badRows, { "over-long": 1, "not JSON": 1, "unknown shape": 1 });
    for (
      const [args, said] of [
        [["--prompt", "word ".repeat(600)], /^The prompt cannot be used: the prompt has \d+ tokens/],
        [["--prompts", `${folder}/none`], /^The file of prompts ".*none" does not exist/],
        [["--prompts", folder], /^The file of prompts ".*" is a folder/],
      ] as const
    ) {
      const refused = await runCommandLine("generate", "--model", DEMO_MODEL, ...args);
      strictEqual(refused.code, 2);
      match(refused.stderr, said);
    }
  }));

Deno.test("generate takes standard input as it is, but for the end of its last line", async () => {
  const args = ["generate", "--model", DEMO_MODEL, ...SHORT, "--json"];
  const tokens = async (input: string) => {
    const { code, stdout, stderr } = await spawnWithInput(args, input);
    strictEqual(code, 0, stderr);
    return JSON.parse(stdout).promptTokens;
  };
  strictEqual(await tokens("one\ntwo\n"), await tokens("one\ntwo"));
  strictEqual(await tokens("one\ntwo\n\n"), await tokens("one\ntwo") + 1);
  const empty = await spawnWithInput(args, "");
  strictEqual(empty.code, 2);
  match(empty.stderr, /^There is no prompt: give --prompt, --prompts, or text on standard input/);
});

Deno.test("flags that say how text is written are checked together, before anything is opened", async () => {
  const { code, stderr } = await runCommandLine(
    ...["generate", "--model", "none", "--chat-template", "of", "--thinking", "yes"],
    ...["--template-option", "a", "messages=1", "b=1", "b=2", "--prompt", "x", "--prompts", "y"],
  );
  strictEqual(code, 2);
  match(stderr, /has 6 problems/);
  match(
    stderr,
    /"of": there is no such file, expected auto, off or the file of a Jinja template; did you mean off\?/,
  );
  match(stderr, /--thinking is "yes", expected one of auto, on, off/);
  match(stderr, /--template-option is "a", expected KEY=VALUE/);
  match(stderr, /--template-option gives b twice/);
  match(stderr, /--template-option messages cannot be set/);
  match(stderr, /--prompt and --prompts exclude each other/);
});

Deno.test("a run keeps how its text was written, and evaluate warns of any other way unless forced", () =>
  withFolder(async (folder) => {
    const model = ["--model", await chatModel(folder), "--data", DEMO_FACTS];
    const format = [
      "--thinking",
      "on",
      "--system",
      "Be brief.",
      "--template-option",
      "today=Monday",
      "n=[1]",
    ];
    const trained = await runCommandLine(
      ...[
        "train",
        ...model,
        ...format,
        "--neurons",
        "16",
        "--steps",
        "1",
        "--examples",
        "0",
        "--threads",
        "1",
      ],
      ...["--seq-len", "128", "--out", `${folder}/run`],
    );
    strictEqual(trained.code, 0, trained.stderr);
    deepStrictEqual(JSON.parse(Deno.readTextFileSync(`${folder}/run/run.json`)).settings.format, {
      chatTemplate: "auto",
      thinking: "on",
      system: "Be brief.",
      templateOptions: { today: "Monday", n: [1] },
    });
    const evaluate = async (...args: string[]) => {
      const adapter = ["--adapter", `${folder}/run/adapter`, "--limit", "2", "--threads", "1"];
      const { code, stderr } = await runCommandLine("evaluate", ...model, ...adapter, ...args);
      strictEqual(code, 0, stderr);
      return stderr;
    };
    strictEqual(await evaluate(...format), "");
    strictEqual(await evaluate("--force"), "");
    const warned = await evaluate("--thinking", "on", "--template-option", "today=Monday", "n=[1]");
    match(
      warned,
      /^Warning: Adapter .* written otherwise: system "Be brief\." then, none now \(--force says noth/,
    );
  }));
