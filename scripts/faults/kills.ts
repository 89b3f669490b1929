// SPDX-License-Identifier: Apache-2.0
/**
 * Processes ended from outside at any moment: killed again and again until the work is done, asked to stop by the signals that
 * people and systems send, and two of them started in one folder at once.
 */
import { nextIntegerBelow, nextUniform, type RandomStream, randomStream } from "../../lib/core/rng.ts";
import { type Baseline, baselines, goOn, runFreely } from "./baseline.ts";
import { announcedProblems, differences, endProblems, halfWritten, snapshot } from "./check.ts";
import { copy, withScratch } from "../folders.ts";
import { type CaseResult, runCases, scenarioCount } from "./pool.ts";
import type { CampaignOptions, FaultReport } from "./report.ts";
import { SCENARIOS } from "./scenarios.ts";
import type { Ended } from "./struck.ts";

const NAME = "kills";
const COUNTS = ["chains", "killed", "asked to stop", "stopped", "two at once", "refused", "equal"];
/** Scenarios whose work goes on; a short campaign takes the first ones. */
const DISTURBED = ["train", "ablate", "merge", "train-lora", "resume", "train-full"];
/** Kills of one chain at most: the work must end some time. */
const MOST_KILLS = 6;
const STOPS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const INTERRUPTED = 130;

type Done = Pick<CaseResult, "what" | "counted" | "problems">;

/** Ways to disturb, by name. */
const WAYS: Readonly<
  Record<string, (baseline: Baseline, folder: string, random: RandomStream) => Promise<Done>>
> = {
  chain,
  stop,
  together,
};
/** How often each comes. */
const TURNS = ["chain", "stop", "chain", "together"];

/** Ends processes for as long as there is time. */
export async function kills(options: CampaignOptions): Promise<FaultReport> {
  return await withScratch(async (scratch) => {
    const baselineOf = baselines(scratch);
    const trial = async (
      name: string,
      way: string,
      seed: number,
      index: number,
      ms?: number,
    ): Promise<CaseResult> => {
      const scenario = SCENARIOS.find((each) => each.name === name);
      const disturb = WAYS[way];
      if (scenario === undefined || disturb === undefined) {
        throw new RangeError(
          `No case of ${NAME} is so called: SCENARIO WAY SEED INDEX, as in "train chain 1 12"`,
        );
      }
      const measured = await baselineOf(scenario);
      // Moments are shares of the time that the work takes, and of how long it was thought to take when it went wrong.
      const baseline = { ...measured, ms: ms ?? Math.round(measured.ms) };
      return await withScratch(async (folder) => {
        await copy(baseline.start, folder);
        const done = await disturb(baseline, folder, randomStream(seed, index));
        return {
          ...done,
          what: `${name}, ${done.what}`,
          replay: `${name} ${way} ${seed} ${index} ${baseline.ms}`,
        };
      });
    };
    return await runCases(NAME, cases(options, trial), COUNTS, options);
  });
}

function* cases(
  options: CampaignOptions,
  trial: (name: string, way: string, seed: number, index: number, ms?: number) => Promise<CaseResult>,
): Generator<() => Promise<CaseResult>> {
  const { seed, replay } = options;
  if (replay !== undefined) {
    const [name = "", way = "", ofSeed, index, ms] = replay.split(" ");
    return yield () => trial(name, way, Number(ofSeed), Number(index), ms === undefined ? ms : Number(ms));
  }
  const names = DISTURBED.slice(0, scenarioCount(options));
  for (let index = 0;; index++) {
    const name = names[index % names.length] as string;
    const way = TURNS[Math.floor(index / names.length) % TURNS.length] as string;
    yield () => trial(name, way, seed, index);
  }
}

/** Killed at any moment, gone on with, killed again, until it is done. */
async function chain(baseline: Baseline, folder: string, random: RandomStream): Promise<Done> {
  const { scenario, whole } = baseline;
  const moments: number[] = [];
  const problems: string[] = [];
  let args: readonly string[] | null = scenario.command;
  while (args !== null && moments.length < MOST_KILLS) {
    const ms = nextUniform(random) * baseline.ms;
    const ended: Ended = await runFreely(scenario, folder, args, signalAfter(ms, "SIGKILL"));
    if (ended.signal !== "SIGKILL" || ended.hung) {
      problems.push(...endProblems(ended));
      break;
    }
    moments.push(Math.round(ms));
    problems.push(...await announcedProblems(folder, ended), ...await halfWritten(folder, whole));
    args = await scenario.again(folder);
  }
  const rest = await goOn(baseline, folder);
  return conclude(`killed after ${moments.join(", ")} ms`, ["chains", ...moments.map(() => "killed")], [
    ...problems,
    ...rest.problems,
  ]);
}

/** Asked to stop at any moment: nothing is lost, and the work goes on. */
async function stop(baseline: Baseline, folder: string, random: RandomStream): Promise<Done> {
  const { scenario, whole } = baseline;
  const signal = STOPS[nextIntegerBelow(random, STOPS.length)] as typeof STOPS[number];
  const ms = nextUniform(random) * baseline.ms;
  const ended = await runFreely(scenario, folder, scenario.command, signalAfter(ms, signal));
  // Before there is anything to save, and after all is saved, the signal ends the process as it does any.
  const stopped = ended.code === INTERRUPTED || ended.signal === signal;
  const problems = stopped && !ended.hung ? [] : endProblems(ended);
  problems.push(...await announcedProblems(folder, ended), ...await halfWritten(folder, whole));
  const rest = await goOn(baseline, folder);
  const counted = ["asked to stop", ...(stopped ? ["stopped"] : [])];
  return conclude(`${signal} after ${Math.round(ms)} ms`, counted, [...problems, ...rest.problems]);
}

/** Started twice in one folder: one does the work, the other is refused. */
async function together(baseline: Baseline, folder: string, random: RandomStream): Promise<Done> {
  const { scenario, whole } = baseline;
  const ms = nextUniform(random) ** 2 * baseline.ms / 2;
  const first = runFreely(scenario, folder, scenario.command);
  await new Promise((done) => setTimeout(done, ms));
  const both = await Promise.all([first, runFreely(scenario, folder, scenario.command)]);
  const refused = both.filter(({ code }) => code !== 0);
  const problems = both.flatMap(endProblems);
  // What is done by the time it is asked for again is done again by nobody.
  const late = both.some(({ stdout }) => /\b0 steps to go|, all taken before: /.test(stdout));
  if (refused.length !== 1 && !late) {
    problems.push(
      `${refused.length} of two at once were refused: ${refused.map(({ stderr }) => stderr).join("")}`,
    );
  }
  problems.push(...differences(whole, await snapshot(folder), null));
  return conclude(
    `two with ${Math.round(ms)} ms between`,
    ["two at once", ...refused.map(() => "refused")],
    problems,
  );
}

function conclude(what: string, counted: readonly string[], problems: readonly string[]): Done {
  return { what, counted: [...counted, ...(problems.length === 0 ? ["equal"] : [])], problems };
}

/** Sends a signal to a process so long after its start, unless it has ended. */
function signalAfter(ms: number, signal: Deno.Signal): (child: Deno.ChildProcess) => void {
  return (child) => {
    const timer = setTimeout(() => {
      try {
        child.kill(signal);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // it has just ended
      }
    }, ms);
    child.status.finally(() => clearTimeout(timer));
  };
}
