// SPDX-License-Identifier: Apache-2.0
/**
 * AdamW (Loshchilov and Hutter, 2019) over dense parameters and over rows, in three modes for rows without a gradient:
 *
 * - `dense` (published): they move by their momentum at every step, as in `torch.optim.AdamW`.
 * - `lazy-exact`: the same bits, later. A row catches up on the steps it missed just before it is read or updated.
 * - `lazy`: they stay; when touched again, their moments have decayed. Cheaper, another algorithm (as SparseAdam).
 */
import type { JsonObject } from "../core/json.ts";
import { optionProblems, recordedOptions, unknownOptions, withDefaults } from "../core/option_checks.ts";
import { choice, type DecidedOptions, number, type OptionsOf } from "../core/options.ts";
import { account } from "../native/ledger.ts";
import type { RowMoments } from "../ops/kernels/rows.ts";
import type { AdamwStep } from "../ops/kernels/model.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { floatsBeside, holdFloats } from "../ops/model_memory.ts";
import type { Floats } from "../tensor/tensor.ts";
import { clipOf } from "./clip.ts";
import type { Moments, Optimizer, OptimizerState, UpdateStep } from "./optimizer.ts";
import {
  isTrained,
  liveGradient,
  type Parameter,
  parameterCount,
  type RowGradient,
  type RowParameter,
} from "./parameters.ts";
import { constant, cosine, linear, type Schedule, scheduleProblems } from "./schedule.ts";

/** Choices of {@linkcode adamw}, but for its schedule. */
export const ADAMW_OPTIONS = {
  /** Peak learning rate. Default: the method's (1e-4 for adapters, 1e-5 for full fine-tuning; more where a head is learnt too). */
  lr: number({
    min: 0,
    above: "typed",
    f32: true,
    default: 1e-4,
    help: "peak learning rate",
    axis: "learning rate",
  }),
  /** Decoupled weight decay. Default 0. */
  weightDecay: number({ min: 0, f32: true, default: 0, help: "decoupled weight decay" }),
  /** Default `lazy-exact`: the published (dense) results bit for bit, at the cost of touched rows. */
  mode: choice(["dense", "lazy-exact", "lazy"], {
    default: "lazy-exact",
    help: "rows without a gradient: dense moves them, lazy-exact gives the same bits later, lazy leaves them",
    setting: "adam",
    ofRows: true,
  }),
  /** Decay of the first moment. Default 0.9. */
  beta1: number({ min: 0, max: 1, below: true, f32: true, default: 0.9, help: "decay of the first moment" }),
  /** Decay of the second moment. Default 0.999. */
  beta2: number({
    min: 0,
    max: 1,
    below: true,
    f32: true,
    default: 0.999,
    help: "decay of the second moment",
  }),
  /** Added to the root of v. Default 1e-8. */
  eps: number({
    min: 0,
    above: true,
    f32: true,
    default: 1e-8,
    help: "added to the root of v",
    setting: "adamEps",
  }),
  /** Limit of the gradient norm; null for none. Default 1. */
  clip: number({
    min: 0,
    above: true,
    default: 1,
    nullable: "no limit",
    nullAs: 0,
    help: "largest gradient norm, 0 for none",
  }),
  /**
   * What norm the limit is of: `all` gradients together (published, the default), or those of each `layer`, where what
   * belongs to no layer is one more. With `layer`, or without a limit, a layer need not wait for the others: with one
   * micro-batch a step a sparse adapter's rows take their step in the backward pass, and no row gradient is written; on a
   * device, layers are updated while backward goes on in those below.
   */
  clipBy: choice(["all", "layer"], {
    default: "all",
    help: "the norm of all gradients, or of each layer's: then a layer need not wait for the others",
  }),
} as const;

/** Choices of {@linkcode adamw}; what is left out takes the published value. */
export interface AdamwOptions extends OptionsOf<typeof ADAMW_OPTIONS> {
  /** Default: linear to 0 after a warm-up of 2% of the steps. A bare name takes that warm-up. */
  readonly schedule?: Schedule | Schedule["kind"];
}

/** {@linkcode AdamwOptions}, all decided. */
export interface AdamwConfig extends DecidedOptions<typeof ADAMW_OPTIONS> {
  readonly schedule: Schedule;
}

const SCHEDULES = { linear, cosine, constant };

/** Resolves options, later ones winning over earlier ones. Problems: one sentence each. */
export function resolveAdamw(
  ...options: readonly AdamwOptions[]
): { config: AdamwConfig; problems: string[] } {
  const given: AdamwOptions = Object.assign({}, ...options.map(withoutUndefined));
  const { schedule: named = linear(), ...own } = given;
  const schedule = typeof named === "string" ? SCHEDULES[named]?.() ?? { kind: named } : named;
  const decided = withDefaults(ADAMW_OPTIONS, own);
  const problems = [
    ...unknownOptions(ADAMW_OPTIONS, own, "AdamW"),
    ...scheduleProblems(schedule),
    ...optionProblems(ADAMW_OPTIONS, decided),
  ];
  return { config: { ...decided, schedule }, problems };
}

function withoutUndefined(options: AdamwOptions): AdamwOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** What is written down, in the order of all versions; what they did not all have stands there where it was chosen. */
function recordOf(config: AdamwConfig): JsonObject {
  const { lr, schedule, clip, beta1, beta2, eps, weightDecay, mode, ...later } = config;
  const chosen = recordedOptions(ADAMW_OPTIONS, later);
  return { lr, schedule: { ...schedule }, clip, beta1, beta2, eps, weightDecay, mode, ...chosen };
}

/** The optimizer of a resolved configuration. */
export function adamwOptimizer(config: AdamwConfig): Optimizer {
  return {
    name: "adamw",
    config: recordOf(config),
    lr: config.lr,
    schedule: config.schedule,
    clip: config.clip,
    clipBy: config.clipBy,
    init: initAdamw,
    update: (k, parameters, state, step) => updateAdamw(k, config, parameters, state, step),
    behind: (parameter, state, step) => {
      if (config.mode !== "lazy-exact" || !isTrained(parameter) || step === 0) return null;
      return { moments: rowMoments(state, parameter), step: replay(config, state, step) };
    },
    rowStep: (state, { step, lr, gradScale }) => {
      const next = { moments: state.moments, lrHistory: withRate(state.lrHistory, step, lr) };
      const adam = adamwStep(config, next, step, gradScale);
      const moments = (parameter: RowParameter): RowMoments => rowMoments(next, parameter);
      return { moments, mode: config.mode, adam, clip: clipOf(config, "layer") };
    },
    flush: async (k, parameters, state, step) => {
      if (config.mode !== "lazy-exact" || step === 0) return;
      for (const parameter of parameters) {
        if (parameter.kind === "dense" || !isTrained(parameter)) continue;
        // The whole matrix is one block.
        const all = new Int32Array(1);
        const moments = rowMoments(state, parameter);
        const adam = replay(config, state, step);
        await k.adamwRowsCatchUp(parameter.matrix, moments, all, parameter.matrix.rows, true, adam);
      }
    },
  };
}

function initAdamw(k: Kernels, parameters: readonly Parameter[]): OptimizerState {
  const moments = new Map<string, Moments>();
  for (const parameter of parameters) {
    if (!isTrained(parameter)) continue;
    const count = parameterCount(parameter);
    const lastStep = parameter.kind === "rows" ? k.indices(parameter.matrix.rows) : null;
    const room = (): Floats =>
      parameter.kind === "rows" ? k.floats(count) : floatsBeside(k, parameter.data, count, "optimizer");
    const entry = { m: room(), v: room(), lastStep };
    for (const floats of [entry.m, entry.v]) holdFloats(k, floats, "optimizer");
    account(k.ledger, "optimizer", lastStep?.byteLength ?? 0);
    moments.set(parameter.name, entry);
  }
  return { moments, lrHistory: new Float32Array(0) };
}

async function updateAdamw(
  k: Kernels,
  config: AdamwConfig,
  parameters: readonly Parameter[],
  state: OptimizerState,
  step: UpdateStep,
): Promise<OptimizerState> {
  const next = { moments: state.moments, lrHistory: withRate(state.lrHistory, step.step, step.lr) };
  const adam = adamwStep(config, next, step.step, step.gradScale);
  for (const parameter of parameters) {
    if (!isTrained(parameter)) continue;
    if (parameter.kind === "dense") {
      const { m, v } = momentsOf(next, parameter);
      k.adamwDense(parameter.data, m, v, liveGradient(parameter), adam);
    } else {
      const { rows, rowCount } = (parameter.gradient as RowGradient).touched;
      const moments = rowMoments(next, parameter);
      await k.adamwRows(
        parameter.matrix,
        moments,
        liveGradient(parameter),
        rows,
        rowCount,
        config.mode,
        adam,
      );
    }
  }
  return next;
}

/** The history with the rate of one more step; room grows by doubling. */
function withRate(history: Float32Array, step: number, lr: number): Float32Array {
  let grown = history;
  if (history.length < step) {
    grown = new Float32Array(Math.max(64, 2 * step));
    grown.set(history);
  }
  grown[step - 1] = lr;
  return grown;
}

function adamwStep(config: AdamwConfig, state: OptimizerState, step: number, gradScale: number): AdamwStep {
  const { beta1, beta2, eps, weightDecay } = config;
  return { step, beta1, beta2, eps, weightDecay, gradScale, lrHistory: state.lrHistory };
}

/** Missed steps have no gradient, so their scale does not matter. */
function replay(config: AdamwConfig, state: OptimizerState, step: number): AdamwStep {
  return adamwStep(config, state, step, 1);
}

function momentsOf(state: OptimizerState, parameter: Parameter): Moments {
  const moments = state.moments.get(parameter.name);
  if (!moments) throw new RangeError(`The optimizer has no state for parameter "${parameter.name}"`);
  return moments;
}

function rowMoments(state: OptimizerState, parameter: RowParameter): RowMoments {
  const { m, v, lastStep } = momentsOf(state, parameter);
  if (!lastStep) throw new RangeError(`The optimizer state of "${parameter.name}" is not one of rows`);
  return { m, v, lastStep };
}
