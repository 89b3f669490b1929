// SPDX-License-Identifier: Apache-2.0
/** Studies: every cell of a grid trained and scored, one after the other, on one model. Killed, it goes on where it was. */
import { join } from "node:path";
import type { Model } from "../models/model.ts";
import type { TrainEvent } from "../train/loop.ts";
import type { TrainSettings } from "../train/settings.ts";
import { removeIfThere } from "../files/folders.ts";
import { writeTextAtomically } from "../files/write.ts";
import { expandGrid, type Grid, type PartPlace } from "./grid.ts";
import { type MemoryCheck, prepareCells, type PreparedCell } from "./prepare.ts";
import { createResources, type Resources } from "./resources.ts";
import { asStored, type CellNumbers, type CellResult, readResults, writeResults } from "./results.ts";
import { runCell, type TrainedCell } from "./run_cell.ts";
import { cellFolder, openStudyFolder, STUDY_RECORD } from "./study_folder.ts";
import { resolveScoring, type Scoring, type ScoringOptions } from "./scoring.ts";

/** Choices of {@linkcode ablate}. */
export interface AblateOptions extends ScoringOptions {
  /** Folder of the study: results, and a run folder for each cell. Default null: nothing is kept, nothing can be resumed. */
  readonly out?: string | null;
  /** Keep each cell's trained adapter in its run folder. Default false. */
  readonly keepAdapters?: boolean;
  /** When it fires, the step under way is finished and saved, and the study ends; run again, it goes on from there. */
  readonly signal?: AbortSignal;
  /** Called with all cells, once they are checked and before the first one starts. */
  readonly onCells?: (cells: readonly PlannedCell[]) => void;
  /** Called with every step of every cell. */
  readonly onStep?: (event: TrainEvent, cell: CellPlace) => void;
  /**
   * Measures more of every cell that was trained: waited for after its scores and before its result is written, so that a cell
   * whose result is there has been measured.
   */
  readonly onTrained?: (trained: TrainedCell, cell: CellPlace) => Promise<void>;
  /** Called with what was cleaned up in the study's folder, and what could not be removed: one sentence each. */
  readonly onWarning?: (warning: string) => void;
  /** Called with what to know of a model whenever one is opened; see `Model.warnings`. */
  readonly onModel?: (model: Pick<Model, "warnings">) => void;
  /** Says why a cell does not fit into this machine's memory, or null when it does. Default: no check. */
  readonly checkMemory?: MemoryCheck;
}

/** A cell's place in its study. */
export interface CellPlace {
  /** From 0. */
  readonly index: number;
  /** Cells in all. */
  readonly count: number;
  readonly label: string;
}

/** A cell's result, as {@linkcode ablate} yields it. */
export interface FinishedCell extends CellResult, CellPlace {
  /** Whether it was already there, from an earlier start of the study. */
  readonly earlier: boolean;
}

/**
 * Runs every cell of a grid and yields its result. Cells share models, data and questions; each trains from scratch. A cell
 * that fails is recorded and the others go on. With `out`, finished cells are never run again: after a kill, the same call
 * returns them at once, continues the cell under way from its checkpoint, and gives the same results but for times. Failed
 * cells are tried again.
 *
 * @param base Settings that all cells share     @param grid Values to go through; a list of grids runs one after the other
 * @throws {ValidationError} Before the first cell starts, listing what is wrong with any
 * @throws {UserError} When the folder is in use, or cannot be written
 *
 * @example Two sizes, three seeds
 * ```ts ignore
 * import * as meft from "meft";
 *
 * const base = { model: "notebooks/demo/model", data: "notebooks/demo/facts.jsonl", lr: 2e-3, epochs: 20 };
 * const grid = { neurons: [64, 256], seed: [1, 2, 3] };
 * const rows: (string | number)[][] = [];
 * for await (const { label, numbers } of meft.ablate(base, grid, { out: "runs/sizes" })) {
 *   rows.push([label, numbers?.scores["exact-match"]?.mean ?? NaN]);
 * }
 * ```
 */
export async function* ablate(
  base: TrainSettings,
  grid: Grid | readonly Grid[],
  options: AblateOptions = {},
): AsyncGenerator<FinishedCell, void> {
  const scoring = resolveScoring(options);
  using resources = createResources(options.onModel);
  const prepared = await prepareStudy(base, grid, resources, scoring, options.checkMemory);
  const out = options.out ?? null;
  const { onWarning = () => {}, keepAdapters = false } = options;
  using folder = out === null ? null : await openStudyFolder(out, { onWarning, keepAdapters });
  const finished = new Map((folder?.results ?? []).map((result) => [result.cell, result]));
  options.onCells?.(plannedCells(prepared, folder?.results ?? []));
  if (out !== null) await recordStudy(out, base, grid, scoring, prepared);
  for (const [index, cell] of prepared.entries()) {
    if (options.signal?.aborted) return;
    const place = { index, count: prepared.length, label: cell.cell.label };
    const known = finished.get(cell.id);
    const result = known?.status === "done"
      ? { ...known, ...describeCell(cell) }
      : await resultOf(cell, place, scoring, options, known !== undefined);
    if (result === null) return;
    finished.set(cell.id, result);
    if (out !== null) await writeResults(out, inOrder(prepared, finished));
    await folder?.tidy([result]); // only now: until its result is on the disk, a cell goes on from its checkpoint
    yield { ...result, ...place, earlier: known?.status === "done" };
  }
  await folder?.tidy(finished.values());
}

/**
 * The cells that {@linkcode ablate} would run, checked, without running any.
 *
 * @throws {ValidationError} Listing what is wrong with any
 */
export async function listCells(
  base: TrainSettings,
  grid: Grid | readonly Grid[],
  options: AblateOptions = {},
): Promise<PlannedCell[]> {
  using resources = createResources(options.onModel);
  const scoring = resolveScoring(options);
  const prepared = await prepareStudy(base, grid, resources, scoring, options.checkMemory);
  return plannedCells(prepared, options.out ? await readResults(options.out) : []);
}

/** What is known of a cell before it runs. */
export interface PlannedCell {
  readonly cell: string;
  readonly label: string;
  readonly parts: readonly PartPlace[];
  readonly settings: TrainSettings;
  readonly totalSteps: number;
  readonly trainedParameters: number;
  readonly predictedBytes: number;
  /** Whether the study's folder has its result. */
  readonly done: boolean;
}

function plannedCells(prepared: readonly PreparedCell[], results: readonly CellResult[]): PlannedCell[] {
  const done = new Set(results.filter(({ status }) => status === "done").map(({ cell }) => cell));
  return prepared.map(({ cell: { label, parts, settings }, id, memory, totalSteps }) => ({
    ...{ cell: id, label, parts, settings, totalSteps },
    trainedParameters: memory.trainedParameters,
    predictedBytes: memory.totalBytes,
    done: done.has(id),
  }));
}

async function prepareStudy(
  base: TrainSettings,
  grid: Grid | readonly Grid[],
  resources: Resources,
  scoring: Scoring,
  checkMemory: MemoryCheck = () => null,
): Promise<PreparedCell[]> {
  return await prepareCells(expandGrid(base, grid), resources, scoring, checkMemory);
}

/** Writes `study.json`: what was asked for. */
async function recordStudy(
  out: string,
  base: TrainSettings,
  grid: Grid | readonly Grid[],
  scoring: Scoring,
  cells: readonly PreparedCell[],
): Promise<void> {
  const metrics = [...new Set(cells.flatMap((cell) => cell.metrics))];
  const ids = cells.map(({ id }) => id);
  const record = { base, grid, scoring: { ...scoring, metrics }, cells: ids, versions: Deno.version };
  await writeTextAtomically(join(out, STUDY_RECORD), `${JSON.stringify(record, null, 2)}\n`);
}

/** A cell's result; null when the signal ended it. A cell that failed before starts anew. */
async function resultOf(
  cell: PreparedCell,
  place: CellPlace,
  scoring: Scoring,
  options: AblateOptions,
  failedBefore: boolean,
): Promise<CellResult | null> {
  const folder = options.out ? cellFolder(options.out, cell.id) : null;
  try {
    if (folder !== null && failedBefore) await removeIfThere(folder);
    const numbers = await runCell(cell, {
      folder,
      scoring,
      ...(options.onWarning && { onWarning: options.onWarning }),
      ...(options.signal && { signal: options.signal }),
      onStep: (event) => options.onStep?.(event, place),
      onTrained: async (trained) => await options.onTrained?.(trained, place),
    });
    return numbers && asStored(makeResult(cell, numbers, null));
  } catch (error) {
    return asStored(makeResult(cell, null, error instanceof Error ? error.message : String(error)));
  }
}

function describeCell({ cell, id, decided }: PreparedCell) {
  const { label, parts, settings } = cell;
  return { cell: id, label, parts, settings, decided };
}

function makeResult(cell: PreparedCell, numbers: CellNumbers | null, error: string | null): CellResult {
  const status = numbers === null ? "failed" : "done";
  return { ...describeCell(cell), seed: cell.cell.settings.seed ?? 42, status, numbers, error };
}

/** The study's cells in their order, then what the folder has of other grids. */
function inOrder(prepared: readonly PreparedCell[], results: ReadonlyMap<string, CellResult>): CellResult[] {
  const ids = new Set(prepared.map(({ id }) => id));
  const own = [...ids].flatMap((id) => results.get(id) ?? []);
  return [...own, ...[...results.values()].filter(({ cell }) => !ids.has(cell))];
}
