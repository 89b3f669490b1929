// SPDX-License-Identifier: Apache-2.0
/** What the tasks of shipped studies share: their start, their end, and the flag of threads. */
import { UserError } from "../../mod.ts";
import { formatSeconds } from "../../lib/report/format.ts";
import { formatMachine, lookAtMachine, type Machine } from "../bench/machine.ts";
import { ensureBuilt } from "../build.ts";
import { helpIfAsked } from "../help.ts";

/** Threads that a flag names, or all. @throws {UserError} When it has no meaning */
export function readThreads(flag: string | undefined): number {
  const threads = Number(flag ?? navigator.hardwareConcurrency);
  if (Number.isSafeInteger(threads) && threads >= 1) return threads;
  throw new UserError(`--threads is ${flag}, expected a whole number of at least 1`);
}

/** Runs a task: its help, or its work, and how long that took. What users can mend is one line and status 2. */
export async function runStudyTask(task: string, work: () => Promise<string>): Promise<void> {
  helpIfAsked(task);
  const startMs = performance.now();
  try {
    const last = await work();
    console.log(`\n${last}; ${formatSeconds((performance.now() - startMs) / 1000)}`);
  } catch (error) {
    console.error(error instanceof UserError ? error.message : error);
    Deno.exit(error instanceof UserError ? 2 : 1);
  }
}

/** Builds the library where it is stale, and says what machine this is. */
export async function openMachine(threads: number, task: string): Promise<Machine> {
  await ensureBuilt();
  const machine = await lookAtMachine(threads, 1, task);
  console.log(formatMachine(machine));
  return machine;
}
