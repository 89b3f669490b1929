// SPDX-License-Identifier: Apache-2.0
/**
 * Hostile inputs for every reader: `fuzz.ts [NAME…] [--seed S] [--seconds N] [--count N]`, and one of them again: `--case I`.
 * An input is used, or refused with one error for people, in seconds and without much memory; all else is a fault.
 */
import { parseArgs } from "node:util";
import { randomStream } from "../../lib/core/rng.ts";
import { FUZZERS } from "./fuzz/all.ts";
import { faultOf, type Fuzzer } from "./fuzz/fuzzer.ts";
import { runFuzzer } from "./fuzz/run.ts";
import { type Campaign, formatReports } from "./report.ts";

/** A campaign of each fuzzer. */
export const FUZZ_CAMPAIGNS: readonly Campaign[] = FUZZERS.map(({ name }) => (options) =>
  runFuzzer(name, options)
);

/** The fuzzer of a name; ends the process when there is none. */
function fuzzerOf(name: string): Fuzzer {
  const fuzzer = FUZZERS.find((known) => known.name === name);
  if (fuzzer !== undefined) return fuzzer;
  console.error(`"${name}" is no fuzzer, there are ${FUZZERS.map(({ name }) => name).join(", ")}`);
  Deno.exit(2);
}

/** Gives one input again, in this process, and says what became of it. */
async function again(fuzzer: Fuzzer, seed: number, index: number): Promise<void> {
  const input = fuzzer.make(randomStream(seed, index));
  const folder = await Deno.makeTempDir();
  const path = `${folder}.input`;
  await Deno.writeFile(path, input);
  console.log(`the input: ${path}`);
  try {
    console.log(await fuzzer.use(input, folder));
  } catch (error) {
    console.log(faultOf(error) === null ? `refused: ${(error as Error).message}` : error);
  }
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      seed: { type: "string", default: "1" },
      seconds: { type: "string", default: "60" },
      count: { type: "string", default: "1e15" },
      case: { type: "string" },
    },
  });
  const seed = Number(values.seed);
  if (values.case !== undefined) {
    await again(fuzzerOf(positionals[0] ?? ""), seed, Number(values.case));
    Deno.exit(0);
  }
  const fuzzers = positionals.length > 0 ? positionals.map(fuzzerOf) : FUZZERS;
  const reports = [];
  for (const { name } of fuzzers) {
    reports.push(await runFuzzer(name, { seconds: Number(values.seconds), seed }, Number(values.count)));
    console.log(formatReports(reports.slice(-1)));
  }
  Deno.exit(reports.some(({ failures }) => failures.length > 0) ? 1 : 0);
}
