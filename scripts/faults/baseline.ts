// SPDX-License-Identifier: Apache-2.0
/** A scenario undisturbed: what it starts from, the calls it makes, what it ends in. */
import { join } from "node:path";
import { differences, endProblems, type Snapshot, snapshot } from "./check.ts";
import { copy, withScratch } from "../folders.ts";
import { layOut, type Scenario } from "./scenarios.ts";
import { type Ended, type Fault, type FileCall, runCommand } from "./struck.ts";

/** What a disturbed scenario is compared with. */
export interface Baseline {
  readonly scenario: Scenario;
  /** Folder with what the command starts from. */
  readonly start: string;
  readonly calls: readonly FileCall[];
  readonly whole: Snapshot;
  /** Time from start to end. */
  readonly ms: number;
}

/** Prepares a scenario inside a folder and runs it undisturbed. */
export async function makeBaseline(scenario: Scenario, scratch: string): Promise<Baseline> {
  const start = join(scratch, scenario.name);
  await layOut(start);
  await scenario.prepare(start);
  // In a folder of its own, as trials are.
  return await withScratch(async (folder) => {
    await copy(start, folder);
    const ended = await runScenario(scenario, folder);
    if (ended.code !== 0) throw new Error(`${scenario.name} fails undisturbed: ${ended.stderr}`);
    return { scenario, start, calls: ended.calls, whole: await snapshot(folder), ms: ended.ms };
  });
}

/** Baselines made once, when they are first asked for. */
export function baselines(scratch: string): (scenario: Scenario) => Promise<Baseline> {
  const made = new Map<Scenario, Promise<Baseline>>();
  return (scenario) => {
    const known = made.get(scenario) ?? makeBaseline(scenario, scratch);
    made.set(scenario, known);
    return known;
  };
}

/** Runs a scenario's command, counted, with a fault or without. */
export function runScenario(scenario: Scenario, folder: string, fault?: Fault): Promise<Ended> {
  const process = scenario.process ?? "meft.ts";
  const watch = { process, ...(fault && { fault }) };
  return runCommand(scenario.command, { folder, watch, env: scenario.env?.(folder) ?? {} });
}

/** Runs a command of a scenario, told of its process when that runs. */
export function runFreely(
  scenario: Scenario,
  folder: string,
  args: readonly string[],
  onStart: (child: Deno.ChildProcess) => void = () => {},
): Promise<Ended> {
  return runCommand(args, { folder, env: scenario.env?.(folder) ?? {}, onStart });
}

/** What came of going on after a fault. */
export interface GoneOn {
  /** False when nothing was left to do. */
  readonly resumed: boolean;
  /** Why it does not go on, or how it ends otherwise than undisturbed; none when all is well. */
  readonly problems: readonly string[];
}

/** Goes on with a scenario after a fault, to its end. @param writtenIn Where the folder was before it was copied */
export async function goOn(
  { scenario, whole }: Baseline,
  folder: string,
  writtenIn: string = folder,
): Promise<GoneOn> {
  const args = await scenario.again(folder);
  const ended = args && await runFreely(scenario, folder, args);
  if (ended !== null && ended.code !== 0) {
    const why = endProblems(ended).join("; ") || ended.stderr.trim();
    return { resumed: false, problems: [`it does not go on: ${why}`] };
  }
  const problems = differences(whole, await snapshot(folder, writtenIn), null).map((each) =>
    `gone on with, ${each}`
  );
  return { resumed: ended !== null, problems };
}
