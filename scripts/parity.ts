// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task parity`: the same training here and in PyTorch, and saved adapters in transformers. Prints a table, and fails
 * when anything disagrees.
 *
 *     deno task parity [--steps N] [--adapters N] [--seed N] [--json]
 */
import { parseArgs } from "node:util";
import { formatTable } from "../lib/report/table.ts";
import { loadData, loadModel, UserError } from "../mod.ts";
import { ensureBuilt } from "./build.ts";
import {
  compareMergedModels,
  compareSavedAdapters,
  compareTrainings,
  trainings,
} from "./parity/comparisons.ts";
import { comparePeftAdapters } from "./parity/peft_adapters.ts";
import { requirePackages } from "./parity/python.ts";
import type { Verdict } from "./parity/verdicts.ts";
import { helpIfAsked } from "./help.ts";
import { useTokenizersBinary } from "./tokenizers_binary.ts";

const DEMO = new URL("../notebooks/demo/", import.meta.url).pathname;

async function compareAll(steps: number, adapters: { count: number; seed: number }): Promise<Verdict[]> {
  await requirePackages();
  await ensureBuilt();
  await useTokenizersBinary();
  using model = await loadModel(`${DEMO}model`, { dtype: "f32" });
  const data = await loadData(`${DEMO}facts.jsonl`, model, { seqLen: 64 });
  const folder = await Deno.makeTempDir();
  try {
    const verdicts = await compareTrainings(model, data, trainings(steps), folder);
    const saved = await compareSavedAdapters(model, data, folder);
    const foreign = await comparePeftAdapters(model, data, folder, adapters);
    return [...verdicts, ...saved, ...foreign, ...await compareMergedModels(model, data, folder)];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function table(verdicts: readonly Verdict[]): string {
  return formatTable([
    ["method", "steps", "largest relative difference", "bound", "verdict"],
    ...verdicts.map(({ what, steps, largestDifference, bound, agrees }) => [
      what,
      String(steps),
      largestDifference.toExponential(1),
      bound.toExponential(0),
      agrees ? "agrees" : "DISAGREES",
    ]),
  ]);
}

helpIfAsked("parity");
const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "50" },
    adapters: { type: "string", default: "20" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
try {
  const numbers = { steps: Number(values.steps), count: Number(values.adapters), seed: Number(values.seed) };
  for (const [name, number] of Object.entries(numbers)) {
    if (!(Number.isSafeInteger(number) && number >= 1)) {
      throw new UserError(`${name} is ${number}, expected a number`);
    }
  }
  const verdicts = await compareAll(numbers.steps, numbers);
  console.log(values.json ? JSON.stringify(verdicts) : table(verdicts));
  Deno.exit(verdicts.every(({ agrees }) => agrees) ? 0 : 1);
} catch (error) {
  console.error(error instanceof UserError ? error.message : error);
  Deno.exit(error instanceof UserError ? 2 : 1);
}
