// SPDX-License-Identifier: Apache-2.0
/** Runs fuzzers in processes of their own and watches over them: an input that hangs or ends its process is a fault like others. */
import { fileURLToPath } from "node:url";
import { linesOf } from "./lines_of.ts";
import type { Campaign, FaultFailure, FaultReport } from "../report.ts";
import { MARK } from "./child.ts";

const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));

/** Silence after which an input is said to hang. */
const HANG_MS = 30_000;

/** Memory of a process, beyond which the system itself refuses. */
const MOST_HEAP_MB = 3000;

/** Faults after which a fuzzer stops: there is enough to mend. */
const MOST_FAULTS = 20;

/** What is known of a run of one fuzzer. */
interface Tally {
  accepted: number;
  refused: number;
  next: number;
  readonly faults: FaultFailure[];
}

/** The command that gives one input again. */
function again(name: string, seed: number, index: number): string {
  return `deno run -A scripts/faults/fuzz.ts ${name} --seed ${seed} --case ${index}`;
}

/** One process, until its time is over or an input ends it. Whether there is more to do. @mutates tally */
async function runChild(
  name: string,
  seed: number,
  endMs: number,
  count: number,
  tally: Tally,
): Promise<boolean> {
  const seconds = (endMs - performance.now()) / 1000;
  if (seconds <= 0 || tally.next >= count || tally.faults.length >= MOST_FAULTS) return false;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--allow-all", `--v8-flags=--max-old-space-size=${MOST_HEAP_MB}`, CHILD],
      ...[name, seed, tally.next, seconds, count].map(String),
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said = new Response(child.stderr).text();
  const fault = (what: string) => tally.faults.push({ what, how: again(name, seed, tally.next) });
  let [isHung, isDone] = [false, false];
  const hang = () => {
    isHung = true;
    child.kill("SIGKILL");
  };
  let timer = setTimeout(hang, HANG_MS);
  for await (const line of linesOf(child.stdout)) {
    const at = line.lastIndexOf(MARK);
    if (at < 0) continue;
    clearTimeout(timer);
    timer = setTimeout(hang, HANG_MS);
    const [, index = "", word = ""] = /^(\d+) (.*)$/s.exec(line.slice(at + 1)) ?? [];
    if (index === "") isDone = true;
    if (index === "" || word === "begins") continue;
    if (word === "accepted" || word === "refused") tally[word]++;
    else fault(word.slice(1));
    tally.next = Number(index) + 1;
  }
  clearTimeout(timer);
  const { code, signal } = await child.status;
  if (isDone) return false;
  const last = (await said).trim().split("\n").slice(-3).join(" | ");
  fault(
    isHung ? `hangs for ${HANG_MS / 1000} s` : `ends the process with ${signal ?? `code ${code}`}: ${last}`,
  );
  tally.next++;
  return true;
}

/**
 * Gives inputs to a fuzzer until the time is over, or there were so many.
 *
 * @param count Default: what the options have, else without end
 */
export async function runFuzzer(
  name: string,
  { seconds, seed, most = Number.MAX_SAFE_INTEGER, onProgress }: Parameters<Campaign>[0],
  count = most,
): Promise<FaultReport> {
  const tally: Tally = { accepted: 0, refused: 0, next: 0, faults: [] };
  const endMs = performance.now() + 1000 * seconds;
  while (await runChild(name, seed, endMs, count, tally)) onProgress?.(`${name}: ${tally.next} inputs`);
  const { accepted, refused, next, faults } = tally;
  return { name: `fuzz ${name}`, counts: { inputs: next, accepted, refused }, failures: faults };
}
