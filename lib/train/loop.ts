// SPDX-License-Identifier: Apache-2.0
/** The training loop: an async generator of metrics. It evaluates, saves and resumes, and knows nothing of logging. */
import type { AdapterParams } from "../adapters/adapter.ts";
import { throwIfAny } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { yieldToEvents } from "../core/event_loop.ts";
import { type Dataset, datasetHash, exampleCount, exampleLength, sourceLength } from "../data/dataset.ts";
import type { MemoryClass } from "../native/ledger.ts";
import { type ActivityWatch, countDeadNeurons, readExpertLoad, watchActivity } from "./activity.ts";
import type { Clock } from "./lanes.ts";
import { watchBase } from "./base_watch.ts";
import { batches, runOn } from "./batches.ts";
import type { Forecast } from "./forecast.ts";
import { guardedEvaluation, guardedStep } from "./guarded.ts";
import type { Run } from "./plan.ts";
import { type MetricsLog, openMetrics } from "./metrics_log.ts";
import { openRunFolder } from "./run_folder.ts";
import { recordRun } from "./run_record.ts";
import { settleStreams } from "./settle_streams.ts";
import { exportAdapter, folderOfRun, saveState, type Session, startState } from "./session.ts";
import { flushState, releaseState, type TrainState } from "./state.ts";
import type { StepMetrics } from "./step.ts";

/** Choices of {@linkcode train}. */
export interface TrainOptions {
  /**
   * Goes on from the newest checkpoint of the run folder (true), or from a checkpoint folder. More or fewer steps or epochs,
   * another micro-batch size, placement and cadence may be given than before; what is changed is written down. Default false.
   */
  readonly resume?: boolean | string;
  /** Evaluated every `evalEvery` steps and at the end. */
  readonly evalData?: Dataset;
  /** When it fires, the step under way is finished and saved, and the run ends. */
  readonly signal?: AbortSignal;
  /** Milliseconds; default `performance.now`. */
  readonly clock?: Clock;
  /** Milliseconds since 1970, for the log; default `Date.now`. */
  readonly wallClock?: Clock;
  /** What the run was asked for, by names of flags: written down, so that `train --resume` needs none of them. */
  readonly flags?: JsonObject;
  /** Predicts the run: written down with it, and asked for what would fit a device without room. Default: nobody does. */
  readonly forecast?: Forecast | null;
  /** Called with what is no reason to end the run, one sentence each. Default: none. */
  readonly onWarning?: (warning: string) => void;
}

/** Metrics of a step, and what was done after it. */
export interface TrainEvent extends StepMetrics {
  readonly totalSteps: number;
  /** Epoch of the step's data, from 0. */
  readonly epoch: number;
  /** Mean loss on the evaluation data, when it was measured after this step. */
  readonly evalLoss: number | null;
  /** Folder of the checkpoint that was saved after this step. */
  readonly checkpoint: string | null;
  /**
   * Mean over the layers of the neurons that fired for no token of the last 100 steps (of all steps of this process, as
   * long as these are fewer). Null for an adapter whose neurons do not fire by choice.
   */
  readonly deadNeurons: number | null;
  /**
   * (L,N): training tokens routed to each expert of each layer since this was last read: after the first step, each
   * twentieth of the run, and every evaluation. Null after all other steps, and for an adapter without experts.
   */
  readonly expertLoad: readonly (readonly number[])[] | null;
  /** Most host bytes held so far, by class. Read as often as `expertLoad`, else null. */
  readonly peakBytes: Readonly<Partial<Record<MemoryClass, number>>> | null;
}

/** How a run ended. */
export interface TrainResult {
  /** Steps taken in all, earlier parts of a resumed run included. */
  readonly steps: number;
  /** Whether the signal ended it before its last step. */
  readonly interrupted: boolean;
  /** Folder of the saved adapter; null without a run folder, or when interrupted. */
  readonly adapter: string | null;
}

/** What is watched and written down beside the steps. */
interface Records {
  readonly log: MetricsLog | null;
  readonly activity: ActivityWatch | null;
}

/** How often at least a run reads what is too long to be logged at every step. */
const READINGS = 20;

/** A training under way: an event for each step, and the result at its end. */
export interface Training extends AsyncGenerator<TrainEvent, TrainResult> {
  /** The run with what its data decides, and with the content of the weights that it began on. */
  readonly run: Run;
  /** What has been learnt: parameters of the newest state, the last one when it is over; null before there is one. */
  readonly adapter: AdapterParams | null;
}

/** How far a training has come. */
interface Progress {
  run: Run;
  adapter: AdapterParams | null;
}

/**
 * Trains a run on data, step by step, and yields the metrics of each. Afterwards `adapter` of what is returned here holds what
 * was learnt. Between steps the event loop gets a turn, so that signals, timers and a notebook's kernel stay awake.
 *
 * @throws {UserError} When data and run do not fit, the run folder is taken, or a checkpoint cannot be resumed or written
 * @throws {NonFiniteError} When loss or gradient is not finite: names step, rows and the first tensor that is not finite,
 *   after the last good state was saved
 * @throws {NotFiniteError} When an evaluation is not finite, after the state was saved
 */
export function train(run: Run, data: Dataset, options: TrainOptions = {}): Training {
  const progress: Progress = { run, adapter: null };
  return Object.defineProperties(trainingEvents(progress, data, options), {
    run: { get: () => progress.run },
    adapter: { get: () => progress.adapter },
  }) as Training;
}

/** @mutates progress */
async function* trainingEvents(
  progress: Progress,
  data: Dataset,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, TrainResult> {
  throwIfAny("The data", dataProblems(progress.run, data));
  const planned = runOn(progress.run, data);
  const resume = options.resume ?? false;
  const warn = once(options.onWarning);
  using folder = await openRunFolder(planned, resume, { onWarning: warn });
  const base = folder && await watchBase(planned.model, warn);
  const settled = await settleStreams(planned, data);
  const run = base ? { ...settled, base: { ...settled.base, content: base.content } } : settled;
  const { totalSteps } = run;
  run.adapterKind.warnings?.forEach(warn);
  progress.run = run;
  const { clock, forecast = null } = options;
  const session: Session = { run, data, dataHash: datasetHash(data), folder, warn, base, clock, forecast };
  const predicted = await forecast?.memory(run, data, options.evalData ?? null) ?? null;
  let state = await startState(session, resume);
  progress.adapter = state.params;
  const recorded = {
    step: state.step,
    flags: options.flags ?? null,
    from: folderOfRun(resume),
    predicted,
  };
  if (folder) await recordRun(folder.out, run, data, recorded);
  using log = folder && await openMetrics(folder.metrics, state.step);
  if (folder && log && resume === true && log.keptStep < state.step) {
    warn(missingSteps(folder.metrics, log.keptStep + 1, state.step));
  }
  const records: Records = { log, activity: watchActivity(state.params, state.step) };
  try {
    for (const stepData of batches(run, data, state)) {
      if (options.signal?.aborted) break;
      const epoch = state.position.epoch;
      const [next, metrics] = await guardedStep(session, state, stepData, log);
      state = next;
      yield await afterStep(session, options, state, { ...metrics, totalSteps, epoch }, records);
      // Native calls block: without a turn here no interrupt and no chart would be heard before the end.
      await yieldToEvents();
    }
    const interrupted = state.step < totalSteps;
    // A signal may come between a step and the next, when nothing was saved.
    if (interrupted && state.step > 0) await saveState(session, state, log);
    return {
      steps: state.step,
      interrupted,
      adapter: interrupted ? null : await exportAdapter(session, state),
    };
  } finally {
    // A state is spent here only when its update failed half-way: then there is nothing to bring up to date.
    if (!state.lease.spent) {
      await flushState(run, state);
      releaseState(run, state, { keepParams: true });
    }
  }
}

/** Tells each sentence once, however often it holds. */
function once(tell: (warning: string) => void = () => {}): (warning: string) => void {
  const told = new Set<string>();
  return (warning) => {
    if (!told.has(warning)) tell(warning);
    told.add(warning);
  };
}

/** Why a run cannot train on the data: one sentence each, none when it can. */
export function dataProblems({ settings }: Run, data: Dataset): string[] {
  const { seqLen, packing } = settings.batch;
  if (exampleCount(data) === 0) return ["has no examples"];
  if (data.report.targets === 0) return ["has no token to take a loss of: nothing can be learnt from it"];
  let longest = packing ? data.seqLen : 0;
  for (let i = 0; i < exampleCount(data); i++) {
    longest = Math.max(longest, exampleLength(data, i), sourceLength(data, i));
  }
  if (longest <= seqLen) return [];
  return [
    `has rows of up to ${longest} tokens, but batch.seqLen is ${seqLen}: load it with seqLen ${seqLen}`,
  ];
}

function missingSteps(path: string, first: number, last: number): string {
  const steps = first === last ? `step ${first}` : `the steps from ${first} to ${last}`;
  return `${path} has no whole line of ${steps}: the run goes on, its curves have a gap there`;
}

/** Evaluates, logs and saves, where they are due. */
async function afterStep(
  session: Session,
  options: TrainOptions,
  state: TrainState,
  metrics: StepMetrics & Pick<TrainEvent, "totalSteps" | "epoch">,
  { log, activity }: Records,
): Promise<TrainEvent> {
  const [{ run }, { totalSteps }] = [session, metrics];
  const deadNeurons = activity && countDeadNeurons(activity, state.params, state.step);
  const last = state.step === totalSteps;
  const due = (every: number | null): boolean => last || (every !== null && state.step % every === 0);
  const evaluation = options.evalData && due(run.settings.evalEvery)
    ? await guardedEvaluation(session, state, options.evalData, log)
    : null;
  const reads = evaluation !== null || state.step === 1 || due(Math.ceil(totalSteps / READINGS));
  const seen = {
    ...metrics,
    evalLoss: evaluation?.loss ?? null,
    deadNeurons,
    expertLoad: activity && reads ? readExpertLoad(activity, state.params) : null,
    peakBytes: reads ? Object.fromEntries(run.model.kernels.ledger.peak) : null,
  };
  await log?.append(logLine(seen, (options.wallClock ?? Date.now)()));
  const saves = due(run.settings.saveEvery) || options.signal?.aborted;
  return { ...seen, checkpoint: saves ? await saveState(session, state, log) : null };
}

/** What is written down of a step: all that was seen, the moment in seconds since 1970, and nothing that is null. */
function logLine(seen: Omit<TrainEvent, "checkpoint">, wallMs: number): object {
  const known = Object.entries(seen).filter(([, value]) => value !== null);
  return { ...Object.fromEntries(known), time: wallMs / 1000 };
}
