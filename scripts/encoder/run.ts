// SPDX-License-Identifier: Apache-2.0
/** Runs the study: each cell here, as `deno task ablate` does, and then the same in PyTorch. Killed, it goes on. */
import { join } from "node:path";
import process from "node:process";
import * as meft from "../../mod.ts";
import { settingsOf } from "../../lib/cli/flags/settings.ts";
import { readGrids } from "../../lib/cli/flags/grid.ts";
import { throwIfAny } from "../../lib/core/errors.ts";
import { isThere } from "../../lib/files/read.ts";
import { createResources } from "../../lib/study/resources.ts";
import { runInPyTorch } from "./peer.ts";
import type { PairResult, SideResult, StepTimes } from "./results.ts";

/** A configuration of `deno task ablate --config`, read. */
export interface StudyConfig {
  readonly base: meft.TrainSettings;
  readonly grids: readonly meft.Grid[];
  readonly out: string;
  readonly metrics: readonly string[];
}

/** @throws {ValidationError} Naming what is wrong with it */
export async function readConfig(path: URL): Promise<StudyConfig> {
  const { grid, seeds, out, metric, ...flags } = JSON.parse(await Deno.readTextFile(path));
  const problems: string[] = [];
  const texts = (grid as unknown[]).map((one) => JSON.stringify(one));
  const grids = readGrids(texts, [(seeds as number[]).join()], problems);
  throwIfAny(path.pathname, problems);
  return { base: settingsOf(flags), grids, out, metrics: metric };
}

/** Choices of {@linkcode runStudy}. */
export interface StudyOptions {
  /** Whether every cell is trained in PyTorch too. */
  readonly peers: boolean;
  readonly threads: number;
  readonly say: (text: string) => void;
}

/** Every cell, here and there, one after the other, so that both meet the same machine. */
export async function runStudy(
  { base, grids, out, metrics }: StudyConfig,
  { peers, threads, say }: StudyOptions,
): Promise<{ pairs: PairResult[]; testRows: number; pytorch: string | null }> {
  using resources = createResources();
  const watch = watchSteps();
  const settings = { ...base, threads };
  const pairs: PairResult[] = [];
  let pytorch: string | null = null;
  for await (const cell of meft.ablate(settings, grids, { out, metrics, onStep: watch.onStep })) {
    if (cell.numbers === null) throw new meft.UserError(`${cell.label} failed: ${cell.error}`);
    const { scores, trainedParameters: trained } = cell.numbers;
    const times = await kept(join(out, "times", `${cell.cell}.json`), () => Promise.resolve(watch.take()));
    const ours: SideResult = { accuracy: meanOf(scores["accuracy"]), f1: meanOf(scores["f1-macro"]), times };
    let torch: SideResult | null = null;
    if (peers) {
      const path = join(out, "pytorch", `${cell.cell}.json`);
      const found = await kept(path, () => runInPyTorch(cell.settings, resources));
      if (found.trained !== trained) {
        throw new Error(`${cell.label} trains ${trained} parameters here and ${found.trained} in PyTorch`);
      }
      [torch, pytorch] = [found, found.version];
    }
    const { method = "", seed } = { ...cell.settings, seed: cell.seed };
    pairs.push({ method, seed, lr: cell.settings.lr as number, trained, ours, torch });
    say(describePair(cell.label, ours, torch));
  }
  const test = await resources.evalData(settings);
  return { pairs, testRows: test === null ? 0 : test.report.rowsUsed, pytorch };
}

function meanOf(estimate: meft.Estimate | undefined): number {
  return estimate?.mean ?? NaN;
}

function describePair(label: string, ours: SideResult, torch: SideResult | null): string {
  const side = (name: string, { accuracy, times }: SideResult) =>
    `${name} ${(100 * accuracy).toFixed(1)} %` +
    (times === null ? "" : `, ${(times.rows / times.seconds).toFixed(0)} rows/s`);
  return [label, side("meft", ours), ...(torch === null ? [] : [side("PyTorch", torch)])].join("  ");
}

/** What a file holds, or what is made for it. */
async function kept<T>(path: string, make: () => Promise<T>): Promise<T> {
  if (await isThere(path)) return JSON.parse(await Deno.readTextFile(path)) as T;
  const made = await make();
  await Deno.mkdir(join(path, ".."), { recursive: true });
  await Deno.writeTextFile(path, `${JSON.stringify(made)}\n`);
  return made;
}

/** Wall and CPU time of a run's steps between the end of the first and that of the last but one, which nothing else follows. */
function watchSteps(): {
  readonly onStep: NonNullable<meft.AblateOptions["onStep"]>;
  /** Of the run since it was last asked; null where that did not begin at its first step. */
  take(): StepTimes | null;
} {
  let start: { readonly ms: number; readonly cpuMs: number } | null = null;
  let times: StepTimes | null = null;
  const now = () => {
    const { user, system } = process.cpuUsage();
    return { ms: performance.now(), cpuMs: (user + system) / 1000 };
  };
  return {
    onStep({ step, totalSteps, targets }) {
      if (step === 1) [start, times] = [now(), { rows: 0, seconds: 0, cpuSeconds: 0 }];
      if (start === null || times === null || step === 1 || step === totalSteps) return;
      const { ms, cpuMs } = now();
      const [seconds, cpuSeconds] = [(ms - start.ms) / 1000, (cpuMs - start.cpuMs) / 1000];
      times = { rows: times.rows + targets, seconds, cpuSeconds };
    },
    take() {
      const taken = times;
      [start, times] = [null, null];
      return taken;
    },
  };
}
