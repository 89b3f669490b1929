// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { addStep, emptyTotals, readTotals } from "../../../lib/study/step_totals.ts";
import { withFolder } from "../../fixtures/folder.ts";

const STEPS = Array.from({ length: 25 }, (_, i) => ({
  step: i + 1,
  loss: 9 / (i + 1),
  tokens: 10 + i % 3,
  tokensPerSecond: 100 / (i + 1),
  activeNeurons: i,
  activationBytes: 1000 - (i - 12) ** 2,
  ...(i === 24 ? { evalLoss: 0.25 } : {}),
}));

Deno.test("readTotals() sums the steps of a log as they come, and refuses one that lacks some", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    const write = (lines: readonly string[]) =>
      Deno.writeTextFileSync(path, lines.map((line) => `${line}\n`).join(""));
    const lines = STEPS.map((step) => JSON.stringify(step));
    write(lines);
    const expected = {
      steps: 25,
      tokens: STEPS.reduce((sum, { tokens }) => sum + tokens, 0),
      seconds: STEPS.reduce((sum, { tokens, tokensPerSecond }) => sum + tokens / tokensPerSecond, 0),
      lossFirst: 9,
      lossLast: 9 / 25,
      evalLoss: 0.25,
      activationBytes: 1000,
      activeNeuronsAtEnd: 22 + 23 + 24,
      stepsAtEnd: 3,
    };
    deepStrictEqual(await readTotals(folder, 25), expected);
    const taken = emptyTotals();
    for (const step of STEPS) addStep(taken, step, 25);
    deepStrictEqual(taken, expected);
    strictEqual(taken.seconds, expected.seconds);

    write(lines.with(3, '{"st'));
    await rejects(readTotals(folder, 25), /metrics\.jsonl is damaged at byte \d+: remove the cell's folder/);
    write(lines.slice(1));
    await rejects(
      readTotals(folder, 25),
      /metrics\.jsonl has 24 steps, but the run took 25: remove the cell's/,
    );
  }));
