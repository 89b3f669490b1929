// SPDX-License-Identifier: Apache-2.0
/** `deno task ok`: the whole gate, in the order in which things fail fastest. Stops at the first failure. */
import { addCounts, formatCounts } from "./counts.ts";
import { runNotebooks } from "./notebooks.ts";
import { test } from "./test.ts";
import { helpIfAsked } from "./help.ts";

interface Step {
  readonly name: string;
  readonly args: readonly string[];
}

const STEPS: readonly Step[] = [
  { name: "format", args: ["fmt", "--check", "--quiet"] },
  { name: "lint", args: ["lint", "--quiet"] },
  { name: "types", args: ["check", "--quiet", "mod.ts", "lib", "scripts", "tests"] },
  { name: "levels", args: ["run", "--allow-read", "scripts/check_levels.ts"] },
  { name: "symbols", args: ["run", "--allow-read", "--allow-run", "scripts/gen_symbols.ts", "--check"] },
];

/** Says itself what it counted, and how to show again what went wrong. */
const FAULTS: Step = {
  name: "faults",
  args: ["run", "--quiet", "--allow-all", "scripts/faults.ts", "--sample"],
};

async function runStep({ name, args }: Step): Promise<boolean> {
  const start = performance.now();
  const { success } = await new Deno.Command(Deno.execPath(), { args: [...args] }).spawn().status;
  console.log(`${success ? "ok  " : "FAIL"} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  return success;
}

helpIfAsked("ok");
for (const step of STEPS) {
  if (!await runStep(step)) Deno.exit(1);
}
const tests = await test([]);
if (tests.code === 0 && !await runStep(FAULTS)) Deno.exit(1);
const notebooks = tests.code === 0 ? await runNotebooks() : { passed: 0, failed: 0, skipped: 0 };
console.log(formatCounts(addCounts(tests.counts, notebooks)));
Deno.exit(notebooks.failed > 0 ? 1 : tests.code);
