// SPDX-License-Identifier: Apache-2.0
/**
 * Losses of power: a scenario's changes are written down, and at each of its calls states are made that a disk may be in then.
 * All are examined; with some the work goes on, and must end as it does undisturbed.
 */
import { nextIntegerBelow, type RandomStream, randomStream } from "../../lib/core/rng.ts";
import { type Baseline, goOn, makeBaseline } from "./baseline.ts";
import { type ChangeLog, readChangeLog, writingChanges } from "./change_log.ts";
import { BY_CHANCE, examine } from "./disk_promises.ts";
import {
  type CrashPoint,
  crashPoints,
  type Outcome,
  outcomesOf,
  stateOf,
  writeState,
} from "./disk_states.ts";
import { copy, withScratch } from "../folders.ts";
import { type CaseResult, runCases } from "./pool.ts";
import type { CampaignOptions, FaultFailure, FaultReport } from "./report.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";
import { runCommand } from "./struck.ts";

const NAME = "power-loss";
/** In the order of their weight: a sample takes the first ones. */
const LOST = ["train", "merge", "ablate", "resume", "train-lora"];
const SAMPLED = 2;
/** A violation is told so often: the same one is in thousands of states. */
const MOST_TOLD = 20;

/** A scenario with all that it did to its folder. */
interface Recorded {
  readonly baseline: Baseline;
  readonly log: ChangeLog;
  /** Where it was when that was written down. */
  readonly folder: string;
}

/** Loses power for as long as there is time. */
export async function powerLoss(options: CampaignOptions): Promise<FaultReport> {
  return await withScratch(async (scratch) => {
    const startMs = performance.now();
    const recorded = new Map<string, Recorded>();
    const failures: FaultFailure[] = [];
    let [moments, states] = [0, 0];
    const some = options.most === undefined ? LOST : LOST.slice(0, SAMPLED);
    const names = options.replay === undefined ? some : [options.replay.split(" ")[0] as string];
    for (const name of names) {
      const record = await recordScenario(scenarioOf(name), scratch);
      recorded.set(name, record);
      const found = await examine(record.log, record.baseline.scenario.optional, options.seed);
      moments += found.moments;
      states += found.states;
      for (const [what, at] of [...found.problems].slice(0, MOST_TOLD)) {
        const how = `deno task faults --case "${NAME} ${name} ${at} ${options.seed} 0"`;
        failures.push({ what: `${name}, power lost after call ${at}: ${what}`, how });
      }
      options.onProgress?.(`${NAME}: ${name}, ${found.states} states of ${found.moments} moments`);
      if (performance.now() - startMs > options.seconds * 1000) break;
    }
    const seconds = options.seconds - (performance.now() - startMs) / 1000;
    const trial = (name: string, at: number, seed: number, index: number) =>
      goOnAfter(recorded.get(name) as Recorded, at, seed, index);
    const cases = goneOn(options, [...recorded], trial);
    const report = await runCases(NAME, cases, ["gone on with", "equal"], { ...options, seconds });
    return {
      ...report,
      counts: { moments, states, ...report.counts },
      failures: [...failures, ...report.failures],
    };
  });
}

function scenarioOf(name: string): Scenario {
  const scenario = SCENARIOS.find((each) => each.name === name);
  if (scenario === undefined) {
    throw new RangeError(`No case of ${NAME} is so called: SCENARIO CALL SEED INDEX, as in "train 12 1 3"`);
  }
  return scenario;
}

async function recordScenario(scenario: Scenario, scratch: string): Promise<Recorded> {
  const baseline = await makeBaseline(scenario, scratch);
  return await withScratch(async (folder) => {
    await copy(baseline.start, folder);
    const log = await Deno.makeTempFile({ dir: scratch });
    const env = { ...scenario.env?.(folder), ...await writingChanges(folder, "meft.ts", log) };
    const { code, stderr } = await runCommand(scenario.command, { folder, env });
    if (code !== 0) throw new Error(`${scenario.name} fails when it is written down: ${stderr}`);
    return { baseline, log: await readChangeLog(log, folder, baseline.start), folder };
  });
}

function* goneOn(
  { seed, replay }: CampaignOptions,
  recorded: readonly (readonly [string, Recorded])[],
  trial: (name: string, at: number, seed: number, index: number) => Promise<CaseResult>,
): Generator<() => Promise<CaseResult>> {
  if (replay !== undefined) {
    const [name = "", at, ofSeed, index] = replay.split(" ");
    return yield () => trial(name, Number(at), Number(ofSeed), Number(index));
  }
  for (let index = 0;; index++) {
    const [name, { log }] = recorded[index % recorded.length] as readonly [string, Recorded];
    const at = nextIntegerBelow(randomStream(seed, index + 1), log.changes.length + 1);
    yield () => trial(name, at, seed, index);
  }
}

/** Goes on with a state by chance of a moment. */
async function goOnAfter(
  { baseline, log, folder: written }: Recorded,
  at: number,
  seed: number,
  index: number,
): Promise<CaseResult> {
  const random = randomStream(seed, index + (1 << 20));
  const point = pointAt(log, at);
  return await withScratch(async (folder) => {
    await writeState(stateOf(point, byChance(point, random)), folder);
    const { resumed, problems } = await goOn(baseline, folder, written);
    return {
      counted: [...(resumed ? ["gone on with"] : []), ...(problems.length === 0 ? ["equal"] : [])],
      problems,
      what: `${baseline.scenario.name}, power lost after call ${at}`,
      replay: `${baseline.scenario.name} ${at} ${seed} ${index}`,
    };
  });
}

function pointAt(log: ChangeLog, at: number): CrashPoint {
  for (const point of crashPoints(log)) if (point.at === at) return point;
  throw new RangeError(`The log has ${log.changes.length} calls, none of which is ${at}`);
}

function byChance(point: CrashPoint, random: RandomStream): readonly Outcome[] {
  const all = [...outcomesOf(point, random, BY_CHANCE)];
  return all[nextIntegerBelow(random, all.length)] as readonly Outcome[];
}
