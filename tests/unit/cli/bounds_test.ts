// SPDX-License-Identifier: Apache-2.0
/** What numbers each flag takes, told once more: both ends of every range are tried. */
import assert from "node:assert/strict";
import { COMMANDS } from "../../../lib/cli/commands/registry.ts";
import type { Flag } from "../../../lib/cli/flags/flags.ts";
import { readValue } from "../../../lib/core/option_values.ts";

/** Least and largest value of whole numbers; what is not named here begins at 1. */
const WHOLE: Readonly<Record<string, readonly [number, number]>> = {
  "seq-len": [2, Infinity],
  "target-len": [2, Infinity],
  "min-new-tokens": [0, Infinity],
  "distinct-ngram-size": [0, Infinity],
  "layers-to-transform": [0, Infinity],
  "reversible-layers": [0, Infinity],
  "trainable-token-indices": [0, Infinity],
  "frozen-layers": [0, Infinity],
  "fraction-bits": [0, 30],
  "pad-vocabulary-to": [1, 65_536],
  beams: [1, 1024],
  seed: [0, 2 ** 32 - 1],
  "watch-port": [0, 65_535],
  examples: [0, 1000],
  rows: [0, Infinity],
};

/** Of other numbers; those whose least or largest value is refused end in "above" or "below". */
const OTHERS: Readonly<Record<string, readonly [number, number, ("above" | "below")?]>> = {
  "lora-alpha": [0, Infinity, "above"],
  lr: [0, Infinity, "above"],
  "adam-eps": [0, Infinity, "above"],
  "top-p": [0, 1, "above"],
  "lora-dropout": [0, 1, "below"],
  "warmup-ratio": [0, 1],
  lambda: [0, 1],
  beta: [0, 1],
  "bottleneck-dropout": [0, 1, "below"],
  beta1: [0, 1, "below"],
  beta2: [0, 1, "below"],
  "weight-decay": [0, Infinity],
  clip: [0, Infinity],
  temperature: [0, Infinity],
  "length-penalty": [-100, 100],
  "repetition-penalty": [0, Infinity, "above"],
};

function takes(flag: Flag, value: number): boolean {
  const problems: string[] = [];
  const read = readValue(flag, `--${flag.name}`, String(value), problems);
  if (problems.length > 0) assert.match(problems[0] as string, /expected a (whole )?number/);
  else assert.deepEqual([read].flat(), [value]);
  return problems.length === 0;
}

Deno.test("every flag of numbers takes what lies in its range, and nothing beyond either end", () => {
  for (const { name: command, flags } of COMMANDS) {
    for (const flag of flags) {
      const place = `${command} --${flag.name}`;
      if (["integer", "integers", "indices"].includes(flag.kind)) {
        const [least, most] = WHOLE[flag.name] ?? [1, Infinity];
        assert.deepEqual([takes(flag, least - 1), takes(flag, least), takes(flag, least + 0.5)], [
          false,
          true,
          false,
        ], place);
        const largest = Math.min(most, Number.MAX_SAFE_INTEGER);
        assert.deepEqual([takes(flag, largest), takes(flag, largest + 1)], [true, false], place);
      } else if (flag.kind === "number") {
        const range = OTHERS[flag.name];
        assert.ok(range, place);
        const [least, most, end] = range;
        const found = [takes(flag, least - 1e-9), takes(flag, least), takes(flag, least + 1e-9)];
        assert.deepEqual(found, [false, end !== "above", true], place);
        const last = most === Infinity
          ? [takes(flag, 1e300)]
          : [takes(flag, most - 1e-9), takes(flag, most) === (end !== "below"), !takes(flag, most + 1e-9)];
        assert.ok(last.every((taken) => taken), place);
      }
    }
  }
});
