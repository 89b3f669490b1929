// SPDX-License-Identifier: Apache-2.0
/** Every flag that takes numbers, given absurd ones: used or refused, in one message, in seconds. */
import { doesNotMatch, match, ok, rejects, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { COMMANDS } from "../../lib/cli/commands/registry.ts";
import type { Flag } from "../../lib/cli/flags/flags.ts";
import { camelCase, type OptionKind } from "../../lib/core/options.ts";
import { TRAIN_FLAGS } from "../../lib/cli/flags/train.ts";
import { withFolder } from "../fixtures/folder.ts";
import { said } from "../fixtures/said.ts";

const KINDS: readonly OptionKind[] = ["number", "numbers", "integer", "integers", "indices"];

/** Texts that are no numbers, or none that a run could be of. */
const NO_NUMBERS = ["-1", "NaN", "Infinity", "1e309", "", " ", "1_000", "0x10", "0b1", "٣", "1,5x", "5e"];

/** Flags that take numbers below 0. */
const SIGNED = ["length-penalty"];

/** Numbers, if far ones. */
const FAR = ["1e12", "1e308"];

/** Far longer than any of them takes. */
const LONGEST_MS = 60_000;

const MODEL = ["--model", "notebooks/demo/model"];
const DATA = ["--data", "notebooks/demo/facts.jsonl"];
const SMALL = ["--batch-size", "2", "--micro-batch-size", "1", "--seq-len", "64"];

/** Arguments with which a command comes as far as to use a flag, at little cost. */
function argumentsFor(command: string, folder: string): readonly string[] {
  const one = ["--data", join(folder, "one.jsonl")];
  switch (command) {
    case "train":
      return [...MODEL, ...DATA, ...SMALL, "--steps", "2", "--dry-run", "--out", join(folder, "run")];
    case "ablate":
      return [...MODEL, ...DATA, ...SMALL, "--steps", "1", "--list", "--out", join(folder, "study")];
    case "evaluate":
      return [...MODEL, ...one, "--metric", "loss", "exact-match", "--max-new-tokens", "2"];
    case "generate":
      return [...MODEL, "--prompt", "Who?", "--max-new-tokens", "2"];
    case "preview":
      return [...MODEL, ...one];
    case "merge":
      return [...MODEL, "--adapter", join(folder, "none"), "--out", join(folder, "merged")];
    default:
      return ["--run", join(folder, "none"), "--watch"];
  }
}

/** The arguments with a flag of that value, and what else the flag needs. */
function withFlag(args: readonly string[], flag: Flag, value: string): string[] {
  const alternative = TRAIN_FLAGS.find(({ insteadOf }) => insteadOf === flag.name)?.name;
  const at = args.findIndex((arg) => arg === `--${flag.name}` || arg === `--${alternative}`);
  const others = at < 0 ? args : args.toSpliced(at, 2);
  const method = flag.methods?.[0];
  return [
    ...others,
    ...(method === undefined || method === "sparse" ? [] : ["--method", method]),
    ...(flag.name === "cached-rows" ? ["--placement", "device"] : []),
    `--${flag.name}=${flag.kind === "numbers" ? `q_proj=${value}` : value}`,
  ];
}

Deno.test("every flag of numbers takes any number or text for what it is, or refuses it with one error, in seconds", () =>
  withFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "one.jsonl"), '{"prompt": "Who?", "completion": " Me."}\n');
    for (const { name, flags } of COMMANDS) {
      for (const flag of flags.filter(({ kind }) => KINDS.includes(kind))) {
        // What a study does with a flag of train, train has done.
        const isKnown = name === "ablate" && TRAIN_FLAGS.includes(flag);
        for (const value of isKnown ? NO_NUMBERS : [...NO_NUMBERS, ...FAR]) {
          const args = withFlag(argumentsFor(name, folder), flag, value);
          const place = `${name} ${args.join(" ")}`;
          const startMs = performance.now();
          const { code, errors, results } = await said(name, args);
          ok(performance.now() - startMs < LONGEST_MS, place);
          ok(code === 0 || code === 2, `${place}: ${code} ${errors.join("\n")}`);
          strictEqual(errors.length, code === 0 ? 0 : 1, `${place}: ${errors.join("\n")}`);
          doesNotMatch(errors.join(), /\n\s+at |at file:/, place);
          strictEqual(results.length, 1, place);
          if (code === 0) doesNotMatch(results.join(), /NaN|Infinity/, place);
          if (!NO_NUMBERS.includes(value) || (value === "-1" && SIGNED.includes(flag.name))) continue;
          strictEqual(code, 2, place);
          match(errors.join(), new RegExp(`--${flag.name} (is|has) |${camelCase(flag.name)}`), place);
        }
      }
    }
  }));

Deno.test("a run whose numbers leave f32 is refused, or ends with the reason and without an adapter", () =>
  withFolder(async (folder) => {
    const run = async (name: string, ...flags: string[]) => {
      const out = join(folder, name);
      const args = [
        ...MODEL,
        ...DATA,
        ...SMALL,
        "--examples",
        "0",
        "--data-cache",
        "off",
        "--method",
        "lora",
      ];
      const { code, errors } = await said("train", [...args, ...flags, "--out", out]);
      strictEqual(errors.length, 1, errors.join("\n"));
      await rejects(Deno.stat(join(out, "adapter")), Deno.errors.NotFound);
      return `${code}: ${errors[0]}`;
    };
    const refused = await run("a", "--steps", "2", "--lr", "1e308");
    match(refused, /^2: .*lr is 1e\+308, expected a number of at least 0, up to 3.4e38$/s);
    const last = await run("b", "--steps", "1", "--lr", "1e3", "--weight-decay", "1e38");
    match(
      last,
      /^1: Step 1 was the last, and no adapter of it is written. Tensor \S+ of the adapter holds -?(Infinity|NaN)/,
    );
    match(
      await run("c", "--steps", "2", "--lr", "1e3", "--weight-decay", "1e38"),
      /^1: Step 2: the loss is NaN/,
    );
  }));
