// SPDX-License-Identifier: Apache-2.0
/** Cells of a shipped study: its configuration, which is one of `deno task ablate`, and what steps took. Killed, it goes on. */
import { join } from "node:path";
import process from "node:process";
import * as meft from "../../mod.ts";
import { listenForInterrupt } from "../../lib/cli/interrupt.ts";
import { createOutput } from "../../lib/cli/output.ts";
import { settingsOf } from "../../lib/cli/flags/settings.ts";
import { readGrids } from "../../lib/cli/flags/grid.ts";
import { studyProgress } from "../../lib/cli/study_progress.ts";
import { throwIfAny } from "../../lib/core/errors.ts";
import { isThere } from "../../lib/files/read.ts";

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
  const metrics = (metric as string[]).filter((name) => name !== "none");
  return { base: settingsOf(flags), grids, out, metrics };
}

/** What steps took, all but the first and those beside which something else is done. */
export interface StepTimes {
  /** Targets: rows of labelled data. */
  readonly rows: number;
  readonly tokens: number;
  readonly seconds: number;
  /** Of all threads. */
  readonly cpuSeconds: number;
}

/** A cell that is done. */
export interface DoneCell extends meft.FinishedCell {
  readonly numbers: meft.CellNumbers;
  /** Null where its run went on from a checkpoint. */
  readonly times: StepTimes | null;
}

/**
 * Runs what is left of a study, one cell after the other, with a line of progress, and yields all.
 *
 * @throws {UserError} When a cell fails, or the study is interrupted
 */
export async function* runCells(
  { base, grids, out, metrics }: StudyConfig,
  threads: number,
  onTrained?: (trained: meft.TrainedCell) => Promise<void>,
): AsyncGenerator<DoneCell, void> {
  const watch = watchSteps();
  const output = createOutput({ json: false, quiet: false });
  const progress = studyProgress(output);
  using interrupt = listenForInterrupt(() => output.write("\nStopping after this step.\n"));
  const cells = meft.ablate({ ...base, threads }, grids, {
    ...{ out, metrics, onCells: progress.onCells, signal: interrupt.signal },
    onStep(event, place) {
      watch.onStep(event);
      progress.onStep(event, place);
    },
    ...(onTrained && { onTrained }),
  });
  for await (const cell of cells) {
    const { numbers } = cell;
    if (numbers === null) throw new meft.UserError(`${cell.label} failed: ${cell.error}`);
    progress.finishCell(cell);
    const times = await kept(join(out, "times", `${cell.cell}.json`), () => Promise.resolve(watch.take()));
    yield { ...cell, numbers, times };
  }
  progress.finish();
  if (interrupt.signal.aborted) throw new meft.UserError("Stopped; the same command goes on from there");
}

/** What a file holds, or what is made for it. */
export async function kept<T>(path: string, make: () => Promise<T>): Promise<T> {
  if (await isThere(path)) return JSON.parse(await Deno.readTextFile(path)) as T;
  const made = await make();
  await Deno.mkdir(join(path, ".."), { recursive: true });
  await Deno.writeTextFile(path, `${JSON.stringify(made)}\n`);
  return made;
}

/** Wall and CPU time of a run's steps between the end of the first and that of the last but one, which nothing else follows. */
function watchSteps(): {
  readonly onStep: (event: meft.TrainEvent) => void;
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
    onStep({ step, totalSteps, targets, tokens }) {
      if (step === 1) [start, times] = [now(), { rows: 0, tokens: 0, seconds: 0, cpuSeconds: 0 }];
      if (start === null || times === null || step === 1 || step === totalSteps) return;
      const { ms, cpuMs } = now();
      const [seconds, cpuSeconds] = [(ms - start.ms) / 1000, (cpuMs - start.cpuMs) / 1000];
      times = { rows: times.rows + targets, tokens: times.tokens + tokens, seconds, cpuSeconds };
    },
    take() {
      const taken = times;
      [start, times] = [null, null];
      return taken;
    },
  };
}
