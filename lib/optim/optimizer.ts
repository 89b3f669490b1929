// SPDX-License-Identifier: Apache-2.0
/** The contract of an optimizer: an init/update pair over a list of parameters, and how far rows may lag behind. */
import type { ClipScope } from "./clip.ts";
import type { JsonObject } from "../core/json.ts";
import type { AdamwStep } from "../ops/kernels/model.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { RowMoments, RowStep } from "../ops/kernels/rows.ts";
import type { Floats } from "../tensor/tensor.ts";
import type { Parameter, RowParameter } from "./parameters.ts";
import type { Schedule } from "./schedule.ts";

/** Two moments of one parameter. */
export interface Moments {
  readonly m: Floats;
  readonly v: Floats;
  /** (rows) int32, see `RowMoments`; null for a dense parameter. */
  readonly lastStep: Int32Array | null;
}

/** What `adamwRowsCatchUp` needs besides the rows. */
export interface RowCatchUp {
  readonly moments: RowMoments;
  readonly step: AdamwStep;
}

/** State of an optimizer. It is donated: after an update, only the state returned may be used. */
export interface OptimizerState {
  /** By parameter name; frozen parameters have none. */
  readonly moments: ReadonlyMap<string, Moments>;
  /** lrHistory[i] is the learning rate of step i+1, as f32. It may have room for more steps than were taken. */
  readonly lrHistory: Float32Array;
}

/** Of one update. */
export interface UpdateStep {
  /** From 1. */
  readonly step: number;
  /** Learning rate of this step. */
  readonly lr: number;
  /** Multiplies every gradient: clipping. */
  readonly gradScale: number;
}

/** A step that rows take inside the backward pass of their layer. */
export interface RowsStep extends Pick<RowStep, "mode" | "adam" | "clip"> {
  /** Of trained rows. */
  moments(parameter: RowParameter): RowMoments;
}

/** An optimizer with its settings resolved. */
export interface Optimizer {
  readonly name: string;
  /** Everything that decides its results, for `run.json` and checkpoints. */
  readonly config: JsonObject;
  /** Peak learning rate. */
  readonly lr: number;
  readonly schedule: Schedule;
  /** Limit of the gradient norm, or null. */
  readonly clip: number | null;
  /** Whether the norm is that of all gradients together, or of each layer's. */
  readonly clipBy: ClipScope;
  /** Fresh state; its memory is entered in the ledger. */
  init(k: Kernels, parameters: readonly Parameter[]): OptimizerState;
  /** Takes one step with the gradients of the parameters. @mutates parameters, state */
  update(
    k: Kernels,
    parameters: readonly Parameter[],
    state: OptimizerState,
    step: UpdateStep,
  ): Promise<OptimizerState>;
  /**
   * What brings rows up to date before they are read; null when no row ever lags.
   *
   * @param step Steps taken so far
   */
  behind(parameter: RowParameter, state: OptimizerState, step: number): RowCatchUp | null;
  /** How rows take their step inside the backward pass: the same bits as `update` would give them. */
  rowStep(state: OptimizerState, step: UpdateStep): RowsStep;
  /** Brings everything up to date, as if no row had ever waited. @mutates parameters, state */
  flush(k: Kernels, parameters: readonly Parameter[], state: OptimizerState, step: number): Promise<void>;
}
