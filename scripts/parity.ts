// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task parity`: the same training here and in PyTorch, and saved adapters in transformers. Prints a table, and fails
 * when anything disagrees.
 *
 *     deno task parity [--steps N] [--json]
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
  type Verdict,
} from "./parity/comparisons.ts";
import { requirePackages } from "./parity/python.ts";
import { helpIfAsked } from "./help.ts";

const DEMO = new URL("../notebooks/demo/", import.meta.url).pathname;

async function compareAll(steps: number): Promise<Verdict[]> {
  await requirePackages();
  await ensureBuilt();
  using model = await loadModel(`${DEMO}model`, { dtype: "f32" });
  const data = await loadData(`${DEMO}facts.jsonl`, model, { seqLen: 64 });
  const folder = await Deno.makeTempDir();
  try {
    const verdicts = await compareTrainings(model, data, trainings(steps), folder);
    const saved = await compareSavedAdapters(model, data, folder);
    return [...verdicts, ...saved, ...await compareMergedModels(model, data, folder)];
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
  options: { steps: { type: "string", default: "50" }, json: { type: "boolean", default: false } },
});
try {
  const steps = Number(values.steps);
  if (!(Number.isSafeInteger(steps) && steps >= 1)) {
    throw new UserError(`--steps is ${values.steps}, expected a number`);
  }
  const verdicts = await compareAll(steps);
  console.log(values.json ? JSON.stringify(verdicts) : table(verdicts));
  Deno.exit(verdicts.every(({ agrees }) => agrees) ? 0 : 1);
} catch (error) {
  console.error(error instanceof UserError ? error.message : error);
  Deno.exit(error instanceof UserError ? 2 : 1);
}
