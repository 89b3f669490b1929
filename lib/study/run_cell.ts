// SPDX-License-Identifier: Apache-2.0
/** One cell: trained in its run folder, scored, and put into numbers. All numbers but times follow from the settings. */
import { join } from "node:path";
import type { AdapterParams } from "../adapters/adapter.ts";
import { yieldToEvents } from "../core/event_loop.ts";
import { inspectDataset } from "../evaluate/activity.ts";
import { scoreTask } from "../evaluate/task_scores.ts";
import { isThere } from "../files/read.ts";
import { resetPeaks } from "../native/ledger.ts";
import { train } from "../predict/train.ts";
import type { TrainEvent, Training } from "../train/loop.ts";
import type { OpenModel } from "../train/open_model.ts";
import { plan, type Run } from "../train/plan.ts";
import { formatOptionsOf, type TrainSettings } from "../train/settings.ts";
import type { PreparedCell } from "./prepare.ts";
import type { CellActivity, CellNumbers } from "./results.ts";
import { scoreAdapter, type Scoring } from "./scoring.ts";
import { addStep, emptyTotals, readTotals, type StepTotals } from "./step_totals.ts";

/** Checkpoints of a cell, so that a kill costs a quarter of it at most. */
const CHECKPOINTS_PER_CELL = 4;
/** Examples whose activity is looked at: enough for shares in percent, whatever the data's size. */
const INSPECTED_EXAMPLES = 2048;

/** Classes of memory that a run holds as long as it lasts. */
const CLASSES = ["weights", "parameters", "optimizer", "gradients"] as const;

/** Where and how a cell runs. */
export interface CellRun {
  /** Run folder of the cell; null keeps nothing. */
  readonly folder: string | null;
  readonly scoring: Scoring;
  readonly onWarning?: (warning: string) => void;
  readonly signal?: AbortSignal;
  readonly onStep?: (event: TrainEvent) => void;
  /** Measures more of what was learnt, before it is let go. */
  readonly onTrained?: (trained: TrainedCell) => Promise<void>;
}

/** A cell that was trained just now. */
export interface TrainedCell {
  /** Its name, as its result has it. */
  readonly cell: string;
  readonly settings: TrainSettings;
  /** On which it was trained. */
  readonly model: OpenModel;
  /** What was learnt: until the call that is given it ends. */
  readonly adapter: AdapterParams;
}

/** Trains and scores a cell, from its newest checkpoint if it has one. Null when the signal ended it first. */
export async function runCell(cell: PreparedCell, options: CellRun): Promise<CellNumbers | null> {
  const { model } = cell;
  const run = plan(model, { ...cell.options, ...cadence(cell, options.folder) });
  resetPeaks(model.kernels.ledger);
  const training = await beginTraining(run, cell, options);
  try {
    const taken = emptyTotals();
    const finished = await followTraining(training, cell, options, taken);
    if (!finished) return null;
    const adapter = training.adapter as AdapterParams;
    const held = model.kernels.ledger.peak;
    const bytes = Object.fromEntries(CLASSES.map((name) => [name, held.get(name) ?? 0]));
    const startMs = performance.now();
    const scores = await scoresOf(cell, adapter, options.scoring);
    const scoringSeconds = (performance.now() - startMs) / 1000;
    const activity = await activityOf(adapter, cell);
    await options.onTrained?.({ cell: cell.id, settings: cell.cell.settings, model, adapter });
    const totals = options.folder === null ? taken : await readTotals(options.folder, cell.totalSteps);
    return {
      scores,
      ...trainingNumbers(cell, totals),
      ...peaksOf(bytes, totals.activationBytes),
      activity,
      scoringSeconds,
    };
  } finally {
    training.adapter?.release();
  }
}

function scoresOf(
  { model, data, evalData, metrics, prompts, choices, task, cell }: PreparedCell,
  adapter: AdapterParams,
  scoring: Scoring,
): Promise<CellNumbers["scores"]> {
  if (task.scoring.by === "answers") {
    return scoreAdapter(model, adapter, prompts, metrics, scoring, formatOptionsOf(cell.settings));
  }
  return scoreTask(model, task, { data: evalData ?? data, choices }, { adapter, metrics });
}

function cadence({ options, totalSteps }: PreparedCell, out: string | null) {
  const saveEvery = options.saveEvery ?? Math.ceil(totalSteps / CHECKPOINTS_PER_CELL);
  return out === null ? { out } : { out, saveEvery, saveTotalLimit: 1 };
}

/** Where there is a run already, it goes on. */
async function beginTraining(
  run: Run,
  { data, evalData }: PreparedCell,
  { folder, signal, onWarning }: CellRun,
): Promise<Training> {
  return train(run, data, {
    resume: folder !== null && await isThere(join(folder, "run.json")),
    ...(signal && { signal }),
    ...(onWarning && { onWarning }),
    ...(evalData && { evalData }),
  });
}

/** False when the signal ended the training early. @mutates taken */
async function followTraining(
  training: Training,
  { totalSteps }: PreparedCell,
  { onStep }: CellRun,
  taken: StepTotals,
): Promise<boolean> {
  for (;;) {
    const { value, done } = await training.next();
    if (done) return !value.interrupted;
    addStep(taken, value, totalSteps);
    onStep?.(value);
    await yieldToEvents();
  }
}

type TrainingNumbers = Omit<CellNumbers, "scores" | "peakBytes" | "bytes" | "activity" | "scoringSeconds">;

function trainingNumbers({ memory }: PreparedCell, totals: StepTotals): TrainingNumbers {
  const { lossFirst, lossLast, evalLoss, steps, tokens, seconds } = totals;
  return {
    lossFirst,
    lossLast,
    evalLoss,
    steps,
    tokens,
    adapterParameters: memory.adapterParameters,
    trainedParameters: memory.trainedParameters,
    trainedShare: memory.trainedParameters / memory.modelParameters,
    activeNeurons: totals.activeNeuronsAtEnd / totals.stepsAtEnd,
    seconds,
    tokensPerSecond: tokens / Math.max(1e-9, seconds),
  };
}

/**
 * What the run held, with the activations of its largest step. (The arena keeps what the largest cell so far needed, and
 * kernels some kilobytes of scratch: both say nothing of this one.)
 */
function peaksOf(held: CellNumbers["bytes"], activations: number): Pick<CellNumbers, "peakBytes" | "bytes"> {
  const bytes = { ...held, activations };
  return { bytes, peakBytes: Object.values(bytes).reduce((total, count) => total + count, 0) };
}

async function activityOf(
  adapter: AdapterParams,
  { model, data, evalData }: PreparedCell,
): Promise<CellActivity | null> {
  if (adapter.layerActivity === undefined) return null;
  const seen = await inspectDataset(model, adapter, evalData ?? data, { examples: INSPECTED_EXAMPLES });
  const { neuronsPerToken, deadNeurons, idleExperts, loadImbalance } = seen;
  return { neuronsPerToken, deadNeurons, idleExperts, loadImbalance };
}
