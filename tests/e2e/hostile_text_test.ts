// SPDX-License-Identifier: Apache-2.0
/** Escapes and bidirectional marks of data, keys, configurations, names and models never reach a terminal raw. */
import { match, ok, strictEqual } from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import { visibleText } from "../../lib/core/visible_text.ts";
import { withFolder } from "../fixtures/folder.ts";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine, SMALL_RUN } from "./command.ts";
import { onTerminal } from "./pty.ts";

/** Sets a title, goes up, reverses, clears by one C1 character, hides: what a terminal or a reader would fall for. */
const HOSTILE = "\x1b]0;PWNED\x07\x1b[A\u202e\x9b2J\u2066\x7f";

/** What is ours on a terminal: colours, the line emptied, ends of lines. */
// deno-lint-ignore no-control-regex -- it is what is looked for
const OURS = /\x1b\[[\d;]*m|\r\x1b\[2K|\r\n/g;

/** Fails when a terminal would obey any of a text that is not ours. */
function checkShown(text: string, what: string): void {
  const foreign = text.replaceAll(OURS, "\n");
  strictEqual(foreign, visibleText(foreign), what);
}

/** A model whose full stop is the escape character: it says sentences, so it says that. */
function writeHostileModel(folder: string): void {
  Deno.mkdirSync(folder);
  for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
    Deno.copyFileSync(`${DEMO_MODEL}/${name}`, `${folder}/${name}`);
  }
  const path = `${folder}/tokenizer.json`;
  const tokenizer = JSON.parse(Deno.readTextFileSync(path));
  const { vocab } = tokenizer.model;
  const escape = "\u011b"; // how a byte-level vocabulary writes 0x1b
  [vocab["."], vocab[escape]] = [vocab[escape], vocab["."]];
  Deno.writeTextFileSync(path, JSON.stringify(tokenizer));
}

Deno.test("preview shows rows, their keys, names of tokens and of files, and a terminal obeys none of them", () =>
  withFolder(async (folder) => {
    const data = `${folder}/${HOSTILE}\n.jsonl`;
    Deno.writeTextFileSync(
      data,
      `${JSON.stringify({ prompt: `a${HOSTILE}`, completion: `${HOSTILE}\n` })}\n`,
    );
    const preview = ["preview", "--model", DEMO_MODEL, "--data", data];
    const shown = await onTerminal({}, preview);
    checkShown(shown, "preview");
    match(stripVTControlCharacters(shown), /\\u001b\]0;PWNED\\u0007/);
    ok(shown.includes("\x1b[1m"), "our own colours are still there");
    const piped = await runCommandLine(...preview, "--json");
    checkShown(piped.stdout + piped.stderr, "preview --json");
    const { tokens } = JSON.parse(piped.stdout).examples[0];
    ok(tokens.map(({ text }: { text: string }) => text).join("").includes(HOSTILE), "JSON is exact");

    Deno.writeTextFileSync(data, `${JSON.stringify({ [`${HOSTILE}\nForged`]: 1 })}\n`);
    const refused = await onTerminal({}, preview, 2);
    checkShown(refused, "a key that is not known");
    ok(!/^Forged/m.test(refused), "a name forges no line of a message");
    match(refused, /\\u202e/);
  }));

Deno.test("generate shows on a terminal what it gives byte for byte to a file, a pipe and as JSON", () =>
  withFolder(async (folder) => {
    writeHostileModel(`${folder}/model`);
    const generate = ["generate", "--model", `${folder}/model`, "--max-new-tokens", "30", "--prompt", "The"];
    const shown = await onTerminal({}, generate);
    checkShown(shown, "generate");
    ok(shown.split("\\u001b").length > 2, shown);
    const { text } = JSON.parse((await runCommandLine(...generate, "--json")).stdout);
    ok(text.includes("\x1b The"), "an escape whose rest is another token");
    strictEqual((await runCommandLine(...generate)).stdout, `${text}\n`);

    Deno.writeTextFileSync(`${folder}/prompts.txt`, "The\nA\n");
    const all = ["generate", "--model", `${folder}/model`, "--prompts", `${folder}/prompts.txt`];
    checkShown(await onTerminal({}, [...all, "--max-new-tokens", "30"]), "generate --prompts");
    const piped = await runCommandLine(...all, "--max-new-tokens", "30");
    ok(piped.stdout.includes(`prompts.txt:1\n${text}\n\n`), piped.stdout);
  }));

Deno.test("configurations, adapters, flags and folders of any name end in messages and tables that are text", () =>
  withFolder(async (folder) => {
    writeHostileModel(`${folder}/model`);
    const path = `${folder}/model/config.json`;
    const config = JSON.parse(Deno.readTextFileSync(path));
    const train = ["train", ...SMALL_RUN, "--steps", "2", "--examples", "0"];
    checkShown(await onTerminal({}, [...train, "--out", `${folder}/${HOSTILE}\nrun`]), "a folder");
    checkShown(await onTerminal({}, ["train", HOSTILE, `--${HOSTILE}`], 2), "flags");
    checkShown(await onTerminal({}, [HOSTILE], 2), "a command");
    for (
      const change of [{ [HOSTILE]: true }, { model_type: HOSTILE }, { rope_scaling: { type: HOSTILE } }]
    ) {
      Deno.writeTextFileSync(path, JSON.stringify({ ...config, ...change }));
      const evaluate = ["evaluate", "--model", `${folder}/model`, "--data", DEMO_FACTS, "--limit", "2"];
      const accepted = HOSTILE in change;
      checkShown(await onTerminal({}, evaluate, accepted ? 0 : 2), JSON.stringify(change));
    }
    Deno.writeTextFileSync(path, `{"a": ${HOSTILE}}`);
    checkShown(await onTerminal({}, ["doctor", "--methods", "--model", `${folder}/model`], 2), "no JSON");
    Deno.writeTextFileSync(`${folder}/flags.json`, JSON.stringify({ [HOSTILE]: 1, method: HOSTILE }));
    checkShown(await onTerminal({}, ["train", "--config", `${folder}/flags.json`], 2), "a config file");
  }));
