// SPDX-License-Identifier: Apache-2.0
/**
 * Every call on a file, made to fail in every way it can, come late, or be the last one of its process. Whatever is struck,
 * the command ends well or with one clear error, nothing that was saved is lost, and the work goes on to the same bytes.
 */
import { nextIntegerBelow, nextWord, type RandomStream, randomStream } from "../../lib/core/rng.ts";
import { type Baseline, baselines, goOn, runScenario } from "./baseline.ts";
import {
  announcedProblems,
  differences,
  endProblems,
  finalPath,
  halfWritten,
  messageProblems,
  snapshot,
  tells,
} from "./check.ts";
import { copy, withScratch } from "../folders.ts";
import { type CaseResult, inParallel, runCases, scenarioCount } from "./pool.ts";
import type { CampaignOptions, FaultReport } from "./report.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";
import type { Ended, Fault, FileCall } from "./struck.ts";

const NAME = "crash-points";
const COUNTS = [
  "injected",
  "killed",
  "ended in error",
  "went on by itself",
  "resumed",
  "equal",
];

const LATE = "delay:300";
const KILLS = ["kill-before", "kill-after"];
/** What can happen to each kind of call: EINTR 4, EIO 5, ENOMEM 12, EACCES 13, EBUSY 16, EMFILE 24, ENOSPC 28, EROFS 30. */
const ACTIONS: Readonly<Record<string, readonly string[]>> = {
  open: ["fail:5", "fail:13", "fail:24", "fail:12", "stay:24"],
  create: ["fail:28", "fail:13", "fail:24", "fail:30", "stay:28", ...KILLS],
  read: ["fail:5", "short", "fail:4", "stay:5", LATE],
  write: ["fail:28", "fail:5", "short", "stay:28", "fail:4", LATE, ...KILLS],
  sync: ["fail:5", "fail:28", LATE, ...KILLS],
  rename: ["fail:5", "fail:28", "fail:13", "fail:30", LATE, ...KILLS],
  unlink: ["fail:5", "fail:13", "fail:16", "fail:30", "stay:16", ...KILLS],
  mkdir: ["fail:28", "fail:13", "fail:30", ...KILLS],
  truncate: ["fail:5", ...KILLS],
  copy: ["fail:28", "fail:5", "short", ...KILLS],
  stat: ["fail:5", "fail:13", "fail:12"],
  list: ["fail:5", "fail:24", "fail:13"],
  entry: ["fail:5"],
  lock: ["fail:5", LATE],
  map: ["fail:12", "fail:5"],
  dup: ["fail:24"],
  close: ["fail:5"],
  chmod: ["fail:5", "fail:13"],
  resolve: ["fail:5", "fail:13"],
};

/** Injects faults for as long as there is time: each kind of call on each file once, then again otherwise. */
export async function crashPoints(options: CampaignOptions): Promise<FaultReport> {
  const [name, at, action] = options.replay?.split(" ") ?? [];
  const asked = SCENARIOS.filter((scenario) => name === undefined || scenario.name === name);
  if (asked.length === 0 || (at === undefined) !== (action === undefined)) {
    throw new RangeError(
      `No case of ${NAME} is so called: SCENARIO, or SCENARIO CALL ACTION, as in "train 12 fail:5"`,
    );
  }
  return await withScratch(async (scratch) => {
    const startMs = performance.now();
    const prepared = await inParallel(asked.slice(0, scenarioCount(options)), baselines(scratch));
    const faults = action === undefined
      ? interleave(prepared.map((baseline, i) => plan(baseline, randomStream(options.seed, i))))
      : prepared.map((baseline) => ({ baseline, fault: { at: Number(at), action } }));
    const calls = prepared.reduce((sum, baseline) => sum + baseline.calls.length, 0);
    options.onProgress?.(
      `${NAME}: ${prepared.length} scenarios, ${calls} calls, ${faults.length} faults planned`,
    );
    const seconds = options.seconds - (performance.now() - startMs) / 1000;
    const report = await runCases(NAME, faults.map((each) => () => inject(each)), COUNTS, {
      ...options,
      seconds,
    });
    return { ...report, counts: { scenarios: prepared.length, ...report.counts } };
  });
}

interface Planned {
  readonly baseline: Baseline;
  readonly fault: Fault;
}

/**
 * Faults of a scenario, in the order in which they are injected. Calls of one kind on one file are alike: the first, the last
 * and one between stand for them. Every such group has its first fault before any has its second.
 */
function plan(baseline: Baseline, random: RandomStream): Planned[] {
  const rounds: Planned[][] = [];
  for (const calls of groups(baseline.calls)) {
    const middle = calls[nextIntegerBelow(random, calls.length)] as FileCall;
    const ends = new Set(
      [calls[0] as FileCall, calls.at(-1) as FileCall, middle].map(({ number }) => number),
    );
    const faults = [...ends].flatMap((at) => actionsOf(calls).map((action): Fault => ({ at, action })));
    shuffled(faults, random).forEach((fault, i) => (rounds[i] ??= []).push({ baseline, fault }));
  }
  return rounds.flatMap((round) => shuffled(round, random));
}

function actionsOf([call]: readonly FileCall[]): readonly string[] {
  const actions = ACTIONS[call?.kind ?? ""];
  if (actions === undefined) throw new Error(`No fault is known for calls of the kind "${call?.kind}"`);
  return actions;
}

/** Calls by kind and file; numbers and letters of passing names do not tell files apart, those of checkpoints do. */
function groups(calls: readonly FileCall[]): FileCall[][] {
  const found = new Map<string, FileCall[]>();
  for (const call of calls) {
    const key = `${call.kind} ${call.path.replaceAll(/[0-9a-f-]{36}/g, "*")}`;
    found.set(key, [...found.get(key) ?? [], call]);
  }
  return [...found.values()];
}

/** One of each in turn. */
function interleave<T>(lists: readonly (readonly T[])[]): T[] {
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}

function shuffled<T>(items: readonly T[], random: RandomStream): T[] {
  return items.map((item) => ({ item, order: nextWord(random) }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

async function inject({ baseline, fault }: Planned): Promise<CaseResult> {
  const { scenario } = baseline;
  return await withScratch(async (folder) => {
    await copy(baseline.start, folder);
    const ended = await runScenario(scenario, folder, fault);
    const struck = ended.calls.find((call) => call.struck);
    const where = struck === undefined
      ? "no call"
      : `${struck.kind} ${finalPath(struck.path) || "the folder"}`;
    const named = { what: `${scenario.name}, ${fault.action} at call ${fault.at} (${where})` };
    const replay = `${scenario.name} ${fault.at} ${fault.action}`;
    if (struck === undefined) return { ...named, replay, counted: ["not reached"], problems: [] };
    const result = await judge(baseline, folder, fault, struck, ended);
    return { ...named, replay, counted: ["injected", ...result.counted], problems: result.problems };
  });
}

type Judged = Pick<CaseResult, "counted" | "problems">;

async function judge(
  baseline: Baseline,
  folder: string,
  fault: Fault,
  struck: FileCall,
  ended: Ended,
): Promise<Judged> {
  const { scenario, whole } = baseline;
  const killed = KILLS.includes(fault.action) && scenario.process === undefined;
  const problems = killed ? [] : faultProblems(scenario, fault, struck, ended);
  if (ended.hung) return { counted: [], problems };
  if (killed || ended.code !== 0) {
    problems.push(...await announcedProblems(folder, ended), ...await halfWritten(folder, whole));
    const rest = await resume(baseline, folder);
    return {
      counted: [killed ? "killed" : "ended in error", ...rest.counted],
      problems: [...problems, ...rest.problems],
    };
  }
  const optional = scenario.optional.test(finalPath(struck.path)) ? scenario.optional : null;
  const found = await snapshot(folder);
  const differing = differences(whole, found, optional);
  const warned = tells(ended, errnoOf(fault) ?? 0);
  // What could not be removed, and was told, goes at the next start.
  if (differing.length > 0 && warned) {
    const rest = await resume(baseline, folder);
    return { counted: ["went on by itself", ...rest.counted], problems: [...problems, ...rest.problems] };
  }
  problems.push(...differing.map((each) => `it ended with 0, but ${each}`));
  if (optional !== null && !warned && !/could not|cannot/i.test(ended.stdout + ended.stderr)) {
    problems.push(...differences(whole, found, null).map((each) => `without a word, ${each}`));
  }
  return { counted: ["went on by itself", ...(problems.length === 0 ? ["equal"] : [])], problems };
}

function faultProblems(scenario: Scenario, fault: Fault, struck: FileCall, ended: Ended): string[] {
  const problems = endProblems(ended);
  if (problems.length > 0) return problems;
  const errno = errnoOf(fault);
  if (errno === null) {
    return ended.code === 0 ? [] : [`nothing failed, but it ended with ${ended.code}: ${ended.stderr}`];
  }
  if (ended.code === 0) return [];
  // One that stays strikes others too, which the work cannot do without; any of them may be what is told.
  const all = fault.action.startsWith("stay:") ? ended.calls.filter((call) => call.struck) : [struck];
  if (all.every(({ path }) => scenario.optional.test(finalPath(path)))) {
    return [`it ended with ${ended.code}: ${ended.stderr.trim()}`];
  }
  const told = all.map((call) => messageProblems(ended, call, errno));
  return told.find((found) => found.length === 0) ?? told[0] ?? [];
}

/** The error number of a fault that makes calls fail. */
function errnoOf({ action }: Fault): number | null {
  const number = /^(?:fail|stay):(\d+)$/.exec(action)?.[1];
  return number === undefined ? null : Number(number);
}

async function resume(baseline: Baseline, folder: string): Promise<Judged> {
  const { resumed, problems } = await goOn(baseline, folder);
  const counted = [...(resumed ? ["resumed"] : []), ...(problems.length === 0 ? ["equal"] : [])];
  return { counted, problems };
}
