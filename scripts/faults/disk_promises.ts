// SPDX-License-Identifier: Apache-2.0
/** What a loss of power must not leave: of all states that a disk may be in then, those that break a promise. */
import { createHash } from "node:crypto";
import { randomStream } from "../../lib/core/rng.ts";
import type { ChangeLog } from "./change_log.ts";
import { isJson } from "./check.ts";
import {
  bytesOf,
  type CrashPoint,
  crashPoints,
  type DiskState,
  entriesOf,
  filesOf,
  foldersOf,
  isWhole,
  nodeAt,
  outcomesOf,
  stateOf,
} from "./disk_states.ts";

/** States by chance at each moment, beside the extreme ones. */
export const BY_CHANCE = 8;

/** What was found in the states of a log. */
export interface Examined {
  readonly moments: number;
  /** That differ from all before. */
  readonly states: number;
  /** What must not be, with the number of the call after which it may; each once. */
  readonly problems: ReadonlyMap<string, number>;
}

/** Looks at all states that are worth it. @param optional Files that the work does without */
export async function examine(log: ChangeLog, optional: RegExp, seed: number): Promise<Examined> {
  const problems = new Map<string, number>();
  const seen = new Set<string>();
  const random = randomStream(seed, 0);
  let moments = 0;
  let last: CrashPoint | null = null;
  for (const point of crashPoints(log)) {
    moments++;
    last = point;
    for (const outcomes of outcomesOf(point, random, BY_CHANCE)) {
      const state = stateOf(point, outcomes);
      const mark = markOf(state, point.said);
      if (seen.has(mark)) continue;
      seen.add(mark);
      for (const problem of await stateProblems(state, point.said)) {
        if (!problems.has(problem)) problems.set(problem, point.at);
      }
    }
  }
  if (last !== null) {
    for (const problem of endProblems(last, optional)) {
      if (!problems.has(problem)) problems.set(problem, last.at);
    }
  }
  return { moments, states: seen.size, problems };
}

/** Two states of one mark are the same. */
function markOf(state: DiskState, said: string): string {
  const hash = createHash("sha1").update(String(said.length));
  for (const { path, file } of filesOf(state)) {
    const data = (state.data.get(file) ?? []).map(({ at, lost }) => lost ? -at - 1 : at);
    hash.update(`${path}\t${file.id}\t${data}\n`);
  }
  for (const { path } of foldersOf(state)) hash.update(`${path}\n`);
  return hash.digest("base64");
}

/** Files that grow at their end: lines after the last checkpoint may be lost. */
const LOGS = /(^|\/)(metrics\.jsonl|events\.out\.tfevents\.[^/]*)$/;
const METRICS = "metrics.jsonl";
const CHECKPOINT = /^(.*)\/checkpoints\/step-(\d+)\/([^/]+)$/;
const CHECKPOINT_FILES = ["parameters.safetensors", "optimizer.safetensors", "state.json", "manifest.json"];

/** What must not be in a state. */
async function stateProblems(state: DiskState, said: string): Promise<string[]> {
  const problems: string[] = [];
  for (const { path, file } of filesOf(state)) {
    const whole = isHidden(path) || LOGS.test(path) || isWhole(state, file);
    if (!whole) problems.push(`${path} is there, and not whole`);
  }
  const newest = newestCheckpoints(state);
  problems.push(...renamedProblems(state));
  for (const [run, { step, names }] of newest) {
    if (await isDoneCell(state, run)) continue;
    const missing = CHECKPOINT_FILES.filter((name) => !names.includes(name));
    if (missing.length > 0) problems.push(`${run}: the newest checkpoint lacks ${missing.join(", ")}`);
    problems.push(...await metricsProblems(state, run, step));
  }
  for (const [, run = "", step] of said.matchAll(/saved (\S+)\/checkpoints\/step-(\d+)/g)) {
    const found = newest.get(run);
    const has = found !== undefined && found.step >= Number(step) &&
      found.names.length >= CHECKPOINT_FILES.length;
    if (!has) problems.push(`${run}: step ${Number(step)} was said to be saved, and there is nothing as new`);
  }
  return problems;
}

/** What begins with a dot is not said to be whole. */
function isHidden(path: string): boolean {
  return path.split("/").some((name) => name.startsWith("."));
}

async function textAt(state: DiskState, path: string): Promise<string> {
  const node = nodeAt(state, path);
  return node === null || node.isFolder ? "" : new TextDecoder().decode(await bytesOf(state, node));
}

/** Whether a run is a study's whose result is written down: nobody goes on with it. */
async function isDoneCell(state: DiskState, run: string): Promise<boolean> {
  const [, study, cell] = /^(.*)\/cells\/([^/]+)$/.exec(run) ?? [];
  if (study === undefined) return false;
  return (await textAt(state, `${study}/results.jsonl`)).includes(`{"cell":${JSON.stringify(cell)},`);
}

/** Folders that were made under a hidden name are whole under another. Of checkpoints, which are removed again, only the newest must be. */
function renamedProblems(state: DiskState): string[] {
  return foldersOf(state).flatMap(({ path, folder }) => {
    if (isHidden(path) || CHECKPOINT.test(`${path}/x`)) return [];
    const lost = folder.whole.filter((name) => !entriesOf(state, folder).has(name));
    return lost.length === 0 ? [] : [`${path} is there without ${lost.join(", ")}`];
  });
}

/** Of each run, the checkpoint that it would go on from. */
function newestCheckpoints(state: DiskState): Map<string, { step: number; names: string[] }> {
  const newest = new Map<string, { step: number; names: string[] }>();
  for (const { path, folder } of foldersOf(state)) {
    const [, run, step] = CHECKPOINT.exec(`${path}/x`) ?? [];
    if (run !== undefined && !isHidden(path) && Number(step) > (newest.get(run)?.step ?? -1)) {
      newest.set(run, { step: Number(step), names: [...entriesOf(state, folder).keys()] });
    }
  }
  return newest;
}

/** A run that goes on after a step has written down all steps up to it. */
async function metricsProblems(state: DiskState, run: string, step: number): Promise<string[]> {
  const lines = (await textAt(state, `${run}/${METRICS}`)).split("\n").slice(0, step);
  const steps = lines.map((line) => isJson(line) ? JSON.parse(line).step : null);
  return steps.length === step && steps.every((each, i) => each === i + 1)
    ? []
    : [`${run}: ${METRICS} lacks steps up to its checkpoint of step ${step}`];
}

/** When a command has ended, nothing that it made can be lost any more. */
function endProblems(end: CrashPoint, optional: RegExp): string[] {
  const worst = stateOf(end, end.pending.map(() => "lost"));
  const left = new Map([...filesOf(worst)].map(({ path, file }) => [path, file]));
  return [...filesOf(stateOf(end, end.pending.map(() => "there")))]
    .filter(({ path, file }) => left.get(path) !== file || !isWhole(worst, file))
    .filter(({ path }) => !isHidden(path) && !optional.test(path))
    .map(({ path }) => `${path} may still be lost when the command has ended`);
}
