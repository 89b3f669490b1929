// SPDX-License-Identifier: Apache-2.0
/** One training step: a pure function of run, state and data, made of smaller ones. */
import type { IdleMemory } from "../activations/policy.ts";
import { NotFiniteError } from "../core/errors.ts";
import type { StepData } from "../data/batches.ts";
import { heldBytes } from "../native/ledger.ts";
import type { WaitAccount } from "../models/sublayers/context.ts";
import { clipFactor, clipOf, gradientSquares, normOfSquares } from "../optim/clip.ts";
import type { UpdateStep } from "../optim/optimizer.ts";
import type { Parameter } from "../optim/parameters.ts";
import { scheduleFactor } from "../optim/schedule.ts";
import { withinDevice } from "./within_device.ts";
import type { RunStepData } from "./batches.ts";
import { clippedUpdate } from "./clipped_update.ts";
import type { Forecast } from "./forecast.ts";
import { fusesRows, rowUpdates } from "./fused_rows.ts";
import { clearOtherGradients, idleGradients } from "./idle_gradients.ts";
import { type LaneAccount, laneAccount, readLanes } from "./lane_account.ts";
import { type LayerUpdates, layerUpdates, overlapsUpdates } from "./layer_updates.ts";
import { type Clock, createLaneTimes, type LaneTimes, timedHooks, waitAccount } from "./lanes.ts";
import { type AttachPart, microBatchGradients } from "./micro_batch.ts";
import type { Run } from "./plan.ts";
import { rememberedBy } from "./run_options.ts";
import { assertUsable, attachState, type TrainState } from "./state.ts";

/** What a step did. */
export interface StepMetrics {
  /** From 1. */
  readonly step: number;
  /** Mean over the targets of the whole batch. */
  readonly loss: number;
  readonly tokens: number;
  readonly targets: number;
  readonly lr: number;
  /** Norm of all gradients, before clipping. */
  readonly gradNorm: number;
  readonly tokensPerSecond: number;
  /** Mean over the layers of the neurons that fired for at least one token. */
  readonly activeNeurons: number;
  /** Forward and backward, without adapter work that the model waited for. */
  readonly modelMs: number;
  /** Adapter work, inside the model's time or beside it. */
  readonly adapterMs: number;
  readonly optimizerMs: number;
  /** Where the time went, by lane, and what travelled. */
  readonly lanes: LaneAccount;
  /** Host bytes held after the step. */
  readonly heldBytes: number;
  /** Most bytes of activations, and of what is computed between them, in use at one time of the step. */
  readonly activationBytes: number;
}

/** A loss or gradient that is not finite. Nothing was changed: the state before the step is still good. */
export class NonFiniteError extends NotFiniteError {
  override readonly name = "NonFiniteError";
  readonly step: number;
  /** Examples of the step, by their index in the data set. */
  readonly examples: readonly number[];

  constructor(message: string, step: number, examples: readonly number[]) {
    super(message);
    this.step = step;
    this.examples = examples;
  }
}

/** The data of a step; what `batches` gives says how many steps there are. */
export type StepOfRun = StepData & Partial<Pick<RunStepData, "totalSteps">>;

/**
 * Gradients over the micro-batches of a step, clipping, one update.
 *
 * @returns The next state and what happened; the old state is spent
 * @throws {NonFiniteError} When loss or gradient is not finite; then the old state stays as it was
 * @mutates state (donated)
 * @param forecast Says which settings would fit a device without room
 * @throws {UserError} When a device is out of memory: who holds what, and which settings would fit
 */
export function trainStep(
  run: Run,
  state: TrainState,
  data: StepOfRun,
  clock: Clock = () => performance.now(),
  forecast: Pick<Forecast, "adviseDevice"> | null = null,
): Promise<[TrainState, StepMetrics]> {
  return withinDevice(run, () => takeStep(run, state, data, clock), forecast);
}

async function takeStep(
  run: Run,
  state: TrainState,
  data: StepOfRun,
  clock: Clock,
): Promise<[TrainState, StepMetrics]> {
  assertUsable(state);
  const step = state.step + 1;
  run.model.kernels.arena.takePeak();
  const start = clock();
  run.model.kernels.deviceClock?.begin();
  const times = createLaneTimes();
  const before = readLanes(run.model.kernels, state.params);
  const lr = learningRate(run, step, data.totalSteps);
  const early = earlyUpdates(run, state, { step, lr, gradScale: 1 }, data);
  const updating = updateWait(run, state, waitAccount(times, clock, run.model.kernels.deviceClock));
  const [loss, squares, gradNorm] = await spending(state, early, async () => {
    const sum = await accumulate(run, state, data, times, clock, early);
    updating?.begin();
    await early?.settle();
    const { parameters } = state.params;
    const squares = await gradientSquares(run.model.kernels, parameters, early?.squares);
    const norm = normOfSquares(squares);
    assertFinite(step, sum, norm, data, early?.begun ?? false);
    return [sum, squares, norm] as const;
  });

  const gradScale = clipFactor(gradNorm, clipOf(run.optimizer, "all"));
  const beforeUpdate = clock();
  const next = await update(run, state, { step, lr, gradScale }, data, { early, squares });
  updating?.end();
  const onDevice = await run.model.kernels.deviceClock?.end() ?? null;
  const end = clock();
  const after = readLanes(run.model.kernels, state.params);
  run.model.kernels.accountWorkspace?.();
  return [next, {
    lanes: laneAccount(before, after, { stepMs: end - start, times, onDevice }),
    step,
    loss,
    tokens: data.tokenCount,
    targets: data.targetCount,
    lr,
    gradNorm,
    tokensPerSecond: data.tokenCount / Math.max(1e-9, (end - start) / 1000),
    activeNeurons: state.params.activeNeurons(),
    modelMs: beforeUpdate - start - times.inlineMs,
    adapterMs: times.inlineMs + times.besideMs + times.ownMs,
    optimizerMs: end - beforeUpdate,
    heldBytes: heldBytes(run.model.kernels.ledger),
    activationBytes: run.model.kernels.arena.takePeak(),
  }];
}

/**
 * Loss and gradients of a step: the mean over all its targets, whatever the micro-batches, because every micro-batch's
 * gradient is scaled by 1 / (targets of the step) and summed.
 *
 * @returns The mean loss     @mutates gradients of the state's parameters, which start from zero
 */
export async function accumulate(
  run: Run,
  state: TrainState,
  data: StepData,
  times: LaneTimes = createLaneTimes(),
  clock: Clock = () => 0,
  early: LayerUpdates | null = null,
): Promise<number> {
  if (data.targetCount === 0) {
    throw new RangeError(`Step ${state.step + 1} has no targets: there is nothing to take a loss of`);
  }
  state.params.forgetRows?.();
  clearOtherGradients(run.model.kernels, state.params);
  let idle: IdleMemory | undefined = idleGradients(run.model.kernels, state.params);
  let [lossSum, firstToken, firstSource, firstTarget] = [0, 0, 0, 0];
  const waits = waitAccount(times, clock, run.model.kernels.deviceClock);
  for (const { batch } of data.microBatches) {
    const attach: AttachPart = (kernels, part) => {
      const place = {
        step: state.step + 1,
        firstToken: firstToken + part.firstToken,
        firstSource: firstSource + part.firstSource,
        firstTarget: firstTarget + part.firstTarget,
      };
      const { model, hooks } = attachState(run, state, place, { kernels, fusedRows: early?.rows });
      return { model, hooks: timedHooks(hooks, times, clock) };
    };
    const options = {
      ...rememberedBy(run.settings),
      lossScale: 1 / data.targetCount,
      idle,
      waits,
      ...(early && data.microBatches.at(-1)?.batch === batch
        ? { seeLoss: early.seeLoss, afterLayer: early.afterLayer }
        : { seeLoss: early?.seeLoss }),
    };
    const { kernels } = run.model;
    lossSum += (await microBatchGradients(kernels, batch, run.rows.halves, attach, options)).lossSum;
    idle = undefined; // from here on gradients are sums under way
    firstToken += batch.ids.length;
    firstSource += (batch.source ?? batch).ids.length;
    firstTarget += batch.targetCount;
  }
  await state.params.collectGradients?.();
  return lossSum / data.targetCount;
}

/**
 * Learning rate of a step (from 1). Optimizers keep it as f32.
 *
 * @param totalSteps Of the run. Default: as planned
 */
export function learningRate(
  { optimizer, totalSteps: planned }: Run,
  step: number,
  totalSteps: number | null = planned,
): number {
  if (totalSteps === null) {
    throw new RangeError(
      "The run's steps are not known: give it steps, or train it on data, which decides them",
    );
  }
  return optimizer.lr * scheduleFactor(optimizer.schedule, step, totalSteps);
}

/** What was done before an update. */
export interface UpdateStart {
  /** Updates that were begun while backward went on. */
  readonly early?: LayerUpdates | null;
  /** Sums of squares of gradients, where they were taken already. */
  readonly squares?: ReadonlyMap<Parameter, number>;
}

/**
 * One optimizer update with the gradients that lie in the state; an optimizer that clips by layer does so here. Spends the
 * state.
 *
 * @mutates state (donated)
 */
export async function update(
  run: Run,
  state: TrainState,
  step: UpdateStep,
  data: StepData,
  { early = null, squares = new Map() }: UpdateStart = {},
): Promise<TrainState> {
  assertUsable(state);
  state.lease.spent = true;
  const optim = early
    ? await early.finish()
    : await clippedUpdate(run.model.kernels, run.optimizer, state.params, state.optim, step, { squares });
  return { params: state.params, optim, step: step.step, position: data.next, lease: { spent: false } };
}

/** What is told that the model's lane waits while the host lane updates rows; null where it does not. */
function updateWait(
  { model: { kernels: k } }: Run,
  { params }: TrainState,
  waits: WaitAccount,
): WaitAccount | null {
  return k.hostBeside && params.parameters.some(({ kind }) => kind === "rows") ? waits : null;
}

/** How parameters step before backward has ended; null when all wait for its end. */
function earlyUpdates(run: Run, state: TrainState, step: UpdateStep, data: StepData): LayerUpdates | null {
  if (overlapsUpdates(run)) return layerUpdates(run, state, step);
  return fusesRows(run, data) ? rowUpdates(run, state, step) : null;
}

/** Runs what may update layers early: when it fails after one has moved, the state is spent. @mutates state.lease */
async function spending<T>(
  state: TrainState,
  early: LayerUpdates | null,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    await early?.settle().catch(() => {});
    if (early?.begun) state.lease.spent = true;
    throw error;
  }
}

function assertFinite(
  step: number,
  loss: number,
  gradNorm: number,
  data: StepData,
  changed: boolean,
): void {
  if (Number.isFinite(loss) && Number.isFinite(gradNorm)) return;
  const what = Number.isFinite(loss) ? `the gradient's norm is ${gradNorm}` : `the loss is ${loss}`;
  const examples = data.microBatches.flatMap((micro) => [...micro.examples]);
  if (changed) {
    throw new NotFiniteError(
      `Step ${step}: ${what}; upper layers had taken their step by then: go on from a checkpoint (with a clip of all gradients none would have)`,
    );
  }
  throw new NonFiniteError(`Step ${step}: ${what}; nothing was changed`, step, examples);
}
