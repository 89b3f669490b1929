// SPDX-License-Identifier: Apache-2.0
/** The training state: parameters, optimizer state and position. Donated: after a step, only the new one may be used. */
import { attachAdapter, type Attachment } from "../adapters/attach.ts";
import { readAdapterInto } from "../adapters/files/saved_adapter.ts";
import type { AdapterParams, FusedRows, TrainingPlace } from "../adapters/adapter.ts";
import { type DataPosition, FIRST_POSITION } from "../data/batches.ts";
import { account } from "../native/ledger.ts";
import type { OptimizerState } from "../optim/optimizer.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { dropFloats } from "../ops/model_memory.ts";
import { rowPlacement } from "./placement.ts";
import { type Run, tokensPerStep } from "./plan.ts";

/** Everything that training goes on from. Together with the run and the data, it decides all that follows. */
export interface TrainState {
  readonly params: AdapterParams;
  readonly optim: OptimizerState;
  /** Steps taken. */
  readonly step: number;
  /** Where the next step's data starts. */
  readonly position: DataPosition;
  /** Whether a later state has taken over the memory of this one. */
  readonly lease: { spent: boolean };
}

/**
 * The start: parameters, fresh (the model's output does not change yet) or those of `run.start`, and optimizer state.
 *
 * @throws {UserError} When the saved adapter to start from does not fit the model
 */
export function init(run: Run): TrainState {
  const state = allocate(run);
  if (run.start) readAdapterInto(run.model, run.start, state.params);
  else state.params.init(run.model.kernels, run.settings.seed);
  return state;
}

/** A state with memory but no values yet, for a checkpoint to fill. */
export function allocate(run: Run): TrainState {
  const k = run.model.kernels;
  const make = (): Pick<TrainState, "params" | "optim"> => {
    const params = run.adapterKind.create(k, run.model, tokensPerStep(run.settings));
    return { params, optim: run.optimizer.init(k, params.parameters) };
  };
  const made = k.device === null ? make() : k.device.reserving(make);
  return { ...made, step: 0, position: FIRST_POSITION, lease: { spent: false } };
}

/** @throws {Error} When a later state has taken over */
export function assertUsable(state: TrainState): void {
  if (state.lease.spent) {
    throw new Error(`The state of step ${state.step} is spent: go on with the state that the step returned`);
  }
}

/**
 * How the model is to be run with a state: for evaluation and generation, or for a micro-batch of training.
 *
 * @param training Where the micro-batch stands in its step; absent when nothing is trained
 * @param options `kernels`: the model's own, or their twin for the second part of a micro-batch;
 *   `fusedRows`: given when rows take their step in the backward pass
 */
export function attachState(
  run: Run,
  state: TrainState,
  training?: Omit<TrainingPlace, "seed">,
  { kernels = run.model.kernels, fusedRows }: {
    readonly kernels?: Kernels;
    readonly fusedRows?: FusedRows | undefined;
  } = {},
): Attachment {
  return attachAdapter(run.model, state.params, kernels, {
    fusedRows,
    ...(training && { placement: rowPlacement(run.rows) }),
    ...(training && { training: { ...training, seed: run.settings.seed } }),
    behind: (parameter) => run.optimizer.behind(parameter, state.optim, state.step),
  });
}

/** Brings rows that wait for their optimizer steps up to date: needed before parameters are read in any other way. */
export function flushState(run: Run, state: TrainState): Promise<void> {
  return run.optimizer.flush(run.model.kernels, state.params.parameters, state.optim, state.step);
}

/** Takes the optimizer state out of the ledger, and the parameters too unless they are kept. Spends the state. */
export function releaseState(
  run: Run,
  state: TrainState,
  options: { readonly keepParams?: boolean } = {},
): void {
  assertUsable(state);
  state.lease.spent = true;
  for (const { m, v, lastStep } of state.optim.moments.values()) {
    for (const floats of [m, v]) dropFloats(run.model.kernels, floats, "optimizer");
    account(run.model.kernels.ledger, "optimizer", -(lastStep?.byteLength ?? 0));
  }
  if (!options.keepParams) state.params.release();
}
