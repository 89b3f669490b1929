// SPDX-License-Identifier: Apache-2.0
/** `deno task test`: builds the library, runs every test, and ends with one line that says how many ran. */
import { ensureBuilt, TESTED } from "./build.ts";
import { addCounts, type Counts, formatCounts } from "./counts.ts";
import { helpIfAsked } from "./help.ts";

/** What `deno test` says at its end. */
const SUMMARY = /(\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed(?: \(\d+ steps?\))?(?: \| (\d+) ignored)?/;

/** Exit code and counts of a test run. */
interface TestResult {
  readonly code: number;
  readonly counts: Counts;
}

/**
 * Runs `deno test`. Returns its exit code and its closing counts.
 *
 * @param show Takes its output as it comes
 */
async function runTests(
  args: readonly string[],
  show: (output: Uint8Array<ArrayBuffer>) => void | Promise<void>,
): Promise<TestResult> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--quiet", ...args],
    stdout: "piped",
    // One file more than there are cores: those that wait for a disk or a pipe leave theirs to another.
    env: { NO_COLOR: "1", DENO_JOBS: String(navigator.hardwareConcurrency + 1) },
  }).spawn();
  let tail = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    await show(chunk);
    tail = (tail + decoder.decode(chunk, { stream: true })).slice(-4000);
  }
  return { code: (await child.status).code, counts: readCounts(tail) };
}

/** The closing counts in what `deno test` said. */
export function readCounts(output: string): Counts {
  const [, passed = "0", failed = "0", skipped = "0"] = SUMMARY.exec(output) ?? [];
  return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped) };
}

/** Tests that share nothing but the machine: files of them run beside each other. */
const UNIT = ["--parallel", "tests/unit"];

/** Whole commands, in processes of their own. */
const COMMANDS = ["tests/e2e"];

/** All others: one after the other, as they set, time or fill what a process shares. */
const OTHERS = ["tests", "--ignore=tests/unit,tests/e2e"];

/** The examples of the documentation, apart from tests: with `--doc`, Deno 2.9 heeds no `--ignore`. */
const EXAMPLES = ["--doc", "README.md", "mod.ts", "lib"];

/** What runs one after the other; beside each other, in processes that know nothing of one another. */
const ALL = [[UNIT], [COMMANDS, OTHERS], [EXAMPLES]];

/** Runs tests beside each other: of the first all is shown as it comes, of others when the first has ended. */
async function runBeside(groups: readonly (readonly string[])[]): Promise<TestResult[]> {
  const shown = groups.map(() => Promise.withResolvers<void>());
  return await Promise.all(groups.map(async (args, i) => {
    const kept: Uint8Array<ArrayBuffer>[] = [];
    const turn = shown[i - 1]?.promise;
    const result = await runTests(args, async (output) => {
      if (turn) kept.push(output);
      else await Deno.stdout.write(output);
    });
    await turn;
    for (const output of kept) await Deno.stdout.write(output);
    shown[i]?.resolve();
    return result;
  }));
}

/** Runs the tests named, or all of them with the examples of the documentation. No test at all is a failure. */
export async function test(args: readonly string[]): Promise<TestResult> {
  await ensureBuilt(TESTED);
  let all: TestResult = { code: 0, counts: { passed: 0, failed: 0, skipped: 0 } };
  for (const groups of args.length > 0 ? [[args]] : ALL) {
    for (const { code, counts } of await runBeside(groups)) {
      const ran = code === 0 && counts.passed === 0 ? 1 : code;
      all = { code: all.code || ran, counts: addCounts(all.counts, counts) };
    }
  }
  return all;
}

if (import.meta.main) {
  helpIfAsked("test");
  const { code, counts } = await test(Deno.args);
  console.log(formatCounts(counts));
  Deno.exit(code);
}
