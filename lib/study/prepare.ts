// SPDX-License-Identifier: Apache-2.0
/** Every cell made ready and checked before the first one starts. */
import { createHash } from "node:crypto";
import { throwIfAny, UserError, ValidationError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { type Dataset, datasetHash } from "../data/dataset.ts";
import type { Prompt } from "../data/prompt_reader.ts";
import type { Placed } from "../data/load_data.ts";
import type { ScoreName } from "../evaluate/score.ts";
import type { ChoiceSet } from "../tasks/choice_data.ts";
import type { Task } from "../tasks/task.ts";
import { runOn } from "../train/batches.ts";
import { dataProblems } from "../train/loop.ts";
import { type MemoryPrediction, predictMemory } from "../predict/memory.ts";
import type { OpenModel } from "../train/open_model.ts";
import { plan, type Run, runIdentity, type RunOptions } from "../train/plan.ts";
import { formatOptionsOf, runOptionsOf } from "../train/settings.ts";
import { type Cell, joinCells } from "./grid.ts";
import type { Resources } from "./resources.ts";
import { metricsOf, questionsHash, type Scoring, scoringIdentity } from "./scoring.ts";

/** A cell that can be run. */
export interface PreparedCell {
  readonly cell: Cell;
  /** Names everything that decides the cell's results: `lora-seed-1-3fa9c2d1`. */
  readonly id: string;
  readonly model: OpenModel;
  readonly data: Dataset;
  readonly evalData: Dataset | null;
  readonly prompts: readonly Placed<Prompt>[];
  /** Questions with choices; null unless the task is scored by them. */
  readonly choices: ChoiceSet | null;
  readonly task: Task;
  /** Scores that are taken. */
  readonly metrics: readonly string[];
  readonly options: RunOptions;
  readonly memory: MemoryPrediction;
  readonly totalSteps: number;
  /** What the run decided where its settings say nothing: all options of its adapter and optimizer. */
  readonly decided: JsonObject;
}

/** Says why a run does not fit into this machine's memory, or null when it does. */
export type MemoryCheck = (memory: MemoryPrediction) => string | null;

/**
 * Opens, loads and plans for all cells, and runs none.
 *
 * @throws {ValidationError} Listing every problem of every cell; one that many cells share stands once
 */
export async function prepareCells(
  cells: readonly Cell[],
  resources: Resources,
  scoring: Scoring,
  check: MemoryCheck,
): Promise<PreparedCell[]> {
  const prepared = new Map<string, PreparedCell>();
  const cellsOf = new Map<string, string[]>();
  for (const cell of cells) {
    try {
      const ready = await prepareCell(cell, resources, scoring);
      const tooLarge = check(ready.memory);
      if (tooLarge !== null) throw new UserError(tooLarge);
      const same = prepared.get(ready.id);
      prepared.set(ready.id, same ? { ...same, cell: joinCells(same.cell, cell) } : ready);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      for (const problem of error instanceof ValidationError ? error.problems : [error.message]) {
        cellsOf.set(problem, [...cellsOf.get(problem) ?? [], cell.label]);
      }
    }
  }
  throwIfAny(
    "The study",
    [...cellsOf].map(([problem, labels]) => `${nameCells(labels, cells.length)}: ${problem}`),
  );
  return [...prepared.values()];
}

/** Cells that an error names at most. */
const NAMED = 3;

function nameCells(labels: readonly string[], count: number): string {
  if (labels.length === count) return "every cell";
  const more = labels.length - NAMED;
  return `${labels.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

async function prepareCell(cell: Cell, resources: Resources, scoring: Scoring): Promise<PreparedCell> {
  const { settings } = cell;
  const model = await resources.model(settings);
  const data = await resources.data(settings);
  const evalData = await resources.evalData(settings);
  const { task } = await resources.task(settings);
  const metrics = metricsOf(scoring, task, model.config.head);
  const asks = task.scoring.by === "answers" && metrics.length > 0;
  const asked = asks ? await resources.prompts(settings, metrics as readonly ScoreName[]) : [];
  const start = await resources.start(settings);
  const options = runOptionsOf(settings, start, null);
  const planned = plan(model, options);
  throwIfAny("The data", dataProblems(planned, data));
  const run = runOn(planned, data);
  const prompts = scoring.limit === null ? asked : asked.slice(0, scoring.limit);
  const choices = task.scoring.by === "choices" && metrics.length > 0
    ? await resources.choices(settings, task.scoring)
    : null;
  const asking = asks ? await questionsHash(prompts, model, formatOptionsOf(settings)) : null;
  const questions = choices ? datasetHash(choices.data) : asking;
  return {
    cell,
    id: cellId(run, data, evalData, { ...scoringIdentity(scoring, metrics), questions }),
    model,
    data,
    evalData,
    prompts,
    choices,
    task,
    metrics,
    options,
    memory: await predictMemory(run),
    totalSteps: run.totalSteps,
    decided: { ...run.optimizer.config, ...run.adapterKind.config, method: run.method.name },
  };
}

/** A readable part, and a hash of everything that decides the results. */
function cellId(run: Run, data: Dataset, evalData: Dataset | null, scoring: JsonObject): string {
  const identity: Json = {
    run: runIdentity(run),
    data: datasetHash(data),
    evalData: evalData && datasetHash(evalData),
    scoring,
  };
  const hash = createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 12);
  return `${run.method.name}-seed-${run.settings.seed}-${hash}`;
}
