// SPDX-License-Identifier: Apache-2.0
/** Gives inputs to one fuzzer, in a process that a watcher may end: `child.ts NAME SEED FIRST SECONDS COUNT`. */
import { randomStream } from "../../../lib/core/rng.ts";
import { FUZZERS } from "./all.ts";
import { faultOf, type Fuzzer } from "./fuzzer.ts";

/** A line for the watcher; what the code under test prints has no such beginning. */
export const MARK = "\u0001";

/** Faults after which there is enough to mend. */
const MOST_FAULTS = 20;

/** Memory that one input may take beyond what came before, and time; both many times what any of them needs. */
const MOST_BYTES = 1.5 * 2 ** 30;
const MOST_MS = 5000;

const encoder = new TextEncoder();

function tell(line: string): void {
  const bytes = encoder.encode(`${MARK}${line}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Most bytes that the process had at once. */
function peakBytes(): number {
  const [, kilobytes = "0"] = /^VmHWM:\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/self/status")) ?? [];
  return 1024 * Number(kilobytes);
}

/** What became of an input: a verdict, or a fault after an exclamation mark. */
async function outcome({ use }: Fuzzer, input: Uint8Array, folder: string): Promise<string> {
  const startMs = performance.now();
  let found: string;
  try {
    found = await use(input, folder);
  } catch (error) {
    const fault = faultOf(error);
    found = fault === null ? "refused" : `!${fault}`;
  }
  const ms = performance.now() - startMs;
  return ms > MOST_MS ? `!took ${Math.round(ms)} ms` : found.replaceAll("\n", " ");
}

async function main(): Promise<void> {
  const [name, seed, first, seconds, count] = Deno.args;
  const fuzzer = FUZZERS.find((known) => known.name === name) as Fuzzer;
  const folder = Deno.makeTempDirSync();
  const endMs = performance.now() + 1000 * Number(seconds);
  let before = peakBytes();
  let faults = 0;
  for (
    let index = Number(first);
    index < Number(count) && faults < MOST_FAULTS && performance.now() < endMs;
    index++
  ) {
    const input = fuzzer.make(randomStream(Number(seed), index));
    tell(`${index} begins`);
    let found = await outcome(fuzzer, input, folder);
    const peak = peakBytes();
    if (peak - before > MOST_BYTES) found = `!took ${Math.round((peak - before) / 2 ** 20)} MiB`;
    before = peak;
    if (found.startsWith("!")) faults++;
    tell(`${index} ${found}`);
  }
  tell("done");
  Deno.removeSync(folder, { recursive: true });
}

if (import.meta.main) await main();
