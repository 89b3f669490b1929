// SPDX-License-Identifier: Apache-2.0
/** What is said twice, once and otherwise: a flag on a command line, a key of a config file. */
import { deepStrictEqual } from "node:assert/strict";
import { Command } from "commander";
import { overlay, readConfigFile, readFlags } from "../../../lib/cli/flags/sources.ts";
import { declareFlags, type FlagValues } from "../../../lib/cli/flags/flags.ts";
import { readValue } from "../../../lib/core/option_values.ts";
import { TRAIN_FLAGS } from "../../../lib/cli/flags/train.ts";
import { METHOD_NAMES } from "../../../lib/methods/methods.ts";
import { nearestName } from "../../../lib/core/suggestion.ts";
import { withFolder } from "../../fixtures/folder.ts";

function typed(...args: string[]): FlagValues | string[] {
  const problems: string[] = [];
  const command = declareFlags(new Command("train").exitOverride(), TRAIN_FLAGS);
  const values = readFlags(command.parse(args, { from: "user" }), TRAIN_FLAGS, problems);
  return problems.length > 0 ? problems : values;
}

async function configured(json: string): Promise<FlagValues | string[]> {
  let result: FlagValues | string[] = {};
  await withFolder(async (folder) => {
    const path = `${folder}/flags.json`;
    await Deno.writeTextFile(path, json);
    const problems: string[] = [];
    const values = readConfigFile(path, TRAIN_FLAGS, problems);
    result = problems.length > 0 ? problems.map((problem) => problem.replaceAll(path, "FILE")) : values;
  });
  return result;
}

Deno.test("a flag of one value that is given twice must be given the same; one of several takes all", () => {
  deepStrictEqual(typed("--lr", "1", "--lr=2", "--lr", "1"), [
    '--lr is given as "1" and as "2": keep one',
  ]);
  deepStrictEqual(typed("--method", "lora", "--method", "sparse"), [
    '--method is given as "lora" and as "sparse": keep one',
  ]);
  deepStrictEqual(typed("--lr", "1", "--lr", "1", "--packing", "--packing"), { lr: 1, packing: true });
  deepStrictEqual(typed("--data", "a", "b", "--data", "c"), { data: ["a", "b", "c"] });
});

Deno.test("a switch whose default depends on others can be told to be off; others stand alone", async () => {
  deepStrictEqual(typed("--switch-streams", "--packing"), { "switch-streams": true, packing: true });
  deepStrictEqual(typed("--switch-streams=false"), { "switch-streams": false });
  deepStrictEqual(typed("--switch-streams", "true", "--quiet-not"), [
    "unknown flag --quiet-not",
  ]);
  deepStrictEqual(await configured('{"switchStreams": false}'), { "switch-streams": false });
  deepStrictEqual(typed("--switch-streams", "off"), ['--switch-streams is "off", expected true or false']);
  deepStrictEqual(typed("--packing=true"), ['--packing takes no value, and is given "true"']);
});

Deno.test("--steps stands in for --epochs: both in one source are refused, those of the higher source count", async () => {
  deepStrictEqual(typed("--steps", "5", "--epochs", "3"), [
    "--steps is given instead of --epochs, and both are given: keep one",
  ]);
  deepStrictEqual(await configured('{"steps": 5, "epochs": 3}'), [
    'FILE: "steps" is given instead of FILE: "epochs", and both are given: keep one',
  ]);
  const over = (lower: FlagValues, higher: FlagValues) => overlay(TRAIN_FLAGS, lower, higher);
  deepStrictEqual(over({ steps: 5, lr: 1 }, { epochs: 3 }), { lr: 1, epochs: 3 });
  deepStrictEqual(over({ epochs: 3, lr: 1 }, { steps: 5 }), { lr: 1, steps: 5 });
  deepStrictEqual(over({ epochs: 3, steps: 5 }, { steps: 7, lr: 2 }), { steps: 7, lr: 2 });
  deepStrictEqual(over({ epochs: 3 }, { epochs: 4 }), { epochs: 4 });
  // What an earlier version wrote down has both.
  deepStrictEqual(over({ epochs: 3, steps: 5 }, { lr: 2 }), { epochs: 3, steps: 5, lr: 2 });
});

Deno.test("a config file that says a key twice, in one spelling or two, is refused", async () => {
  deepStrictEqual(await configured('{"lr": 1, "seed": 3, "lr": 2}'), [
    '--config: FILE has the key "lr" twice: keep one',
  ]);
  deepStrictEqual(await configured('{"rank-pattern": {"q": 1, "q": 2}}'), [
    '--config: FILE has the key "rank-pattern.q" twice: keep one',
  ]);
  deepStrictEqual(await configured('{"top-k": 4, "topK": 8}'), [
    'FILE has both "top-k" and "topK", which are one flag: keep one',
  ]);
  deepStrictEqual(await configured('{"topK": 4, "batch-size": 8}'), { "top-k": 4, "batch-size": 8 });
  deepStrictEqual(await configured('{"topK": null}'), [
    'FILE: "topK" is null, expected a whole number from 1',
  ]);
  deepStrictEqual(await configured(`{"lr": ${"[".repeat(501)}${"]".repeat(501)}}`), [
    "--config: FILE has more than 500 levels, more than any such file",
  ]);
});

Deno.test("values that no message should show whole, and numbers without end, are cut", async () => {
  const long = "x".repeat(1_000_000);
  deepStrictEqual(await configured(JSON.stringify({ lr: long, method: long, [long]: 1 })), [
    `FILE: unknown key "${"x".repeat(119)}...`,
    `FILE: "method" is "${"x".repeat(119)}..., expected one of ${METHOD_NAMES.join(", ")}`,
    `FILE: "lr" is "${"x".repeat(119)}..., expected a number above 0`,
  ]);
  const ranges = Array.from({ length: 1000 }, () => "0-9999").join(",");
  const problems: string[] = [];
  const flag = TRAIN_FLAGS.find(({ name }) => name === "layers-to-transform") as typeof TRAIN_FLAGS[number];
  readValue(flag, "--layers-to-transform", [ranges], problems);
  deepStrictEqual(problems, ["--layers-to-transform has more than 10000 numbers"]);
});

Deno.test("nearestName() takes no time for what is far longer than every name", () => {
  const names = Array.from({ length: 1000 }, (_, i) => `name-${i}`);
  deepStrictEqual(nearestName("x".repeat(1_000_000), names), null);
  deepStrictEqual(nearestName("name-1001", names), "name-100");
});
