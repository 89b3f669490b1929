// SPDX-License-Identifier: Apache-2.0
/** The contract of an adapter: what is trained, where it meets the model, how it starts, how much memory it takes. */
import type { JsonObject } from "../core/json.ts";
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import type { Parameter, RowParameter } from "../optim/parameters.ts";
import type { RowCatchUp, RowsStep } from "../optim/optimizer.ts";
import type { Awaitable } from "../core/awaitable.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { SparseActivity, SparseConfig } from "../ops/sparse.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";
import type { RowTraffic } from "./sparse/row_slots.ts";

/** Where an adapter's work is done: where the model is, or on the host beside it, where rows live. */
export type Placement = "host" | "device";

/** A layer's rows, and how many of them a token uses. */
export interface RowSelection extends SparseConfig {
  readonly neurons: number;
}

/** Size of one parameter, known before anything is allocated. */
export interface ParameterSize {
  readonly name: string;
  readonly shape: readonly number[];
  /** Elements. */
  readonly count: number;
  /** Rows of a parameter that is updated by rows; null for a dense one. */
  readonly rows: number | null;
  readonly trained: boolean;
}

/** How much of an adapter's rows a run really touches: memory that nobody touches is reserved, not used. */
export interface RowReach {
  /** Share of the parameters' bytes that are written at the start. */
  readonly startShare: number;
  /** Share of the rows for which there is room for gradients from the start. */
  readonly slotShare: number;
  /** Share of the rows that this many tokens reach, were hits spread evenly. */
  touchedShare(tokens: number): number;
}

/** What an adapter trains: what it takes is counted, by creating it on kernels that count. */
export interface AdapterSizes {
  readonly parameters: readonly ParameterSize[];
  /** Where rows of the parameters are touched as tokens reach them; null when every step touches all. */
  readonly rows: RowReach | null;
  /** Tensors of the model that others stand in the place of; none when absent. */
  readonly replaces?: readonly string[];
}

/** A kind of adapter with its settings resolved for a model. */
export interface Adapter {
  /** Name in the registry and in `adapter_config.json`. */
  readonly kind: string;
  /** Every mode and size. */
  readonly config: JsonObject;
  /** What files of PEFT's call words that may stand in `config`; absent where there are no such words. */
  readonly fileNames?: ReadonlyMap<string, string>;
  /** Fields of such files that its options do not say; none when absent. */
  readonly fileFields?: JsonObject;
  /** Names under which files hold a parameter once more, by its name: of a tied head what is its embedding's. None when absent. */
  readonly copies?: ReadonlyMap<string, readonly string[]>;
  /** Why there must be something that is trained beside it, as a sentence; absent where it is something by itself. */
  readonly nothingAlone?: string;
  /** Where it attaches, as its files say it: kinds of sublayers, products, or weights. */
  readonly sites: readonly string[];
  /** Whether it trains the model's own weights: then none of them are chosen beside it. */
  readonly trainsModel?: boolean;
  /** Whether copies of its own stand in the place of all weights: then those of the checkpoint are read once. */
  readonly replacesAll?: boolean;
  /** Where its work can be done: one, or a choice. */
  readonly placements: readonly Placement[];
  /** By what sizes a token chooses among rows; absent where every token uses all that is trained. */
  readonly selection?: RowSelection;
  /** The option by which it can be made smaller, what that is now, and of what it is a multiple; absent without such. */
  readonly shrinksBy?: { readonly option: string; readonly now: number; readonly step: number };
  /** How it couples the layers, by name; absent where it leaves them as they are. Then its files are ours. */
  readonly wiring?: string;
  /** Why backward cannot undo the layers that it couples, as the end of a sentence; absent where it can, or couples none. */
  readonly undoRefusal?: string;
  /** Whether the fractional bits of its streams are to be found from the data. */
  readonly findsFraction?: boolean;
  /** What its user is told of its options, one sentence each; none when absent. */
  readonly warnings?: readonly string[];
  /** Why a micro-batch cannot be computed in two parts, as the end of a sentence; absent when it can. */
  readonly splitRefusal?: string;
  /** Why the adapter cannot be folded into the model's weights, as a sentence; absent when `merge` can do that. */
  readonly mergeRefusal?: string;
  /** @param tokensPerStep Tokens of one optimizer step at most; 0 when nothing is trained */
  sizes(model: Model, tokensPerStep: number): AdapterSizes;
  /**
   * Allocates the parameters and, with `tokensPerStep` > 0, their gradients; enters both in the ledger. Values are
   * zeros (full fine-tuning: the model's), to be set by `init`, by a saved adapter or by a checkpoint.
   */
  create(k: Kernels, model: Model, tokensPerStep: number): AdapterParams;
}

/** Parameters of one adapter on one model. */
export interface AdapterParams {
  readonly adapter: Adapter;
  /** Of several adapters trained as one: those of each, in their order. Absent for one. */
  readonly parts?: readonly AdapterParams[];
  /** File that the values were read from, when they are as they were read. */
  readonly source?: string;
  /** All parameters, in a fixed order: what is saved, and what the optimizer sees. */
  readonly parameters: readonly Parameter[];
  /**
   * Those whose gradients only the backward pass of one layer writes, by layer. Until then activations may lie in the
   * memory of these gradients.
   */
  readonly byLayer: readonly (readonly Parameter[])[];
  /** Sets the starting values, a pure function of the seed. The model's output does not change. @mutates parameters */
  init(k: Kernels, seed: number): void;
  /** Where this adapter meets the model: see `attachAdapter`, which runs a model with it. */
  attach(k: Kernels, options?: AttachOptions): Attached;
  /**
   * The model's weights with the adapter folded in, one change a tensor; tensors that are not named stay as they are.
   * Absent when the adapter is no change of weights: then its `mergeRefusal` says why.
   */
  merge?(k: Kernels): Iterable<WeightChange>;
  /** Fields of `config.json` that merging changes; none when absent. */
  readonly mergedConfig?: JsonObject;
  /** Mean over the layers of the neurons that fired since the gradients were cleared. */
  activeNeurons(): number;
  /** What fired, one record a layer; absent where neurons do not fire by choice. Views: the next step changes them. */
  layerActivity?(): LayerActivity[];
  /**
   * Brings the gradients of a step's passes to where the optimizer finds them. To be called after the last pass, and before
   * rows change. @mutates gradients
   */
  collectGradients?(): Awaitable<void>;
  /** Forgets what passes left that were not followed by `collectGradients`, because one failed. To be called before the first. */
  forgetRows?(): void;
  /** What travelled by placement `device` since the parameters were made; null or absent when nothing did. */
  rowTraffic?(): RowTraffic | null;
  /** Takes the memory out of the ledger. The parameters must not be used any more. */
  release(): void;
}

/** What fired in one layer. */
export interface LayerActivity {
  /** Neurons R of the layer. */
  readonly neurons: number;
  /** Neurons that fired since the gradients were cleared, in no order. */
  readonly firedNeurons: Int32Array;
  /** (N): tokens routed to each expert in the passes of training, since the parameters were made. */
  readonly expertTokens: Float64Array;
}

/** What merging does to one tensor of the checkpoint. */
export interface WeightChange {
  /** The tensor's name in the checkpoint. */
  readonly name: string;
  /** What the tensor grows to; absent when it keeps its shape. */
  readonly shape?: readonly number[];
  /**
   * @param weights The tensor, widened to floats: W becomes W'. Grown, it holds the old values in its first rows and
   *   columns and zeros beside them; a tensor that the checkpoint lacks is all zeros. @mutates weights, now or, where a device
   *   holds what is folded in, later
   */
  apply(weights: Floats): Awaitable<void>;
}

/** Where training stands: what masks that change from step to step are a function of. */
export interface TrainingPlace {
  readonly seed: number;
  /** From 1. */
  readonly step: number;
  /** Place of the micro-batch's first token among the step's tokens: how a step is cut does not matter. */
  readonly firstToken: number;
  /** The same of what encoders beside decoders read. Default: as `firstToken`. */
  readonly firstSource?: number;
  /** The same of targets: of the rows that a head compares. Default: as `firstToken`. */
  readonly firstTarget?: number;
}

/** Where an adapter's rows are computed with. */
export type RowPlacement = { readonly kind: "host" } | {
  readonly kind: "device";
  /** Rows of each layer that the model's memory has room for. */
  readonly cachedRows: number;
};

/** Rows that take their optimizer step in the backward pass, once each; see `Optimizer.rowStep`. */
export interface FusedRows {
  /** How the rows of the next layer step; null when they must not move, but leave their gradients. */
  readonly step: () => RowsStep | null;
  /**
   * Told of a layer for which there was a step: sums of squares of the gradients of its router and of its trained rows.
   * When their sum is not finite no row has moved.
   */
  readonly stepped: (squares: ReadonlyMap<Parameter, number>) => void;
}

/** Choices of `attach`. */
export interface AttachOptions {
  /** Given for the forward and backward passes of training; absent, the adapter answers as it has learnt. */
  readonly training?: TrainingPlace;
  /** What brings rows that lag behind the optimizer up to date before they are read; null when none does. */
  readonly behind?: (parameter: RowParameter) => RowCatchUp | null;
  /** Given where row gradients need not be kept, with placement host; only adapters with row parameters heed it. */
  readonly fusedRows?: FusedRows | undefined;
  /** Where rows are computed with, for adapters that leave a choice. Default: where they live, on the host. */
  readonly placement?: RowPlacement;
  /** Called with what fires in each layer of a forward pass; only adapters with neurons that fire by choice heed it. */
  readonly onFired?: (layer: number, activity: SparseActivity) => void;
}

/** Where an adapter meets a model. */
export interface Attached {
  readonly hooks: Hooks;
  /** What stands in the place of weights of the model, by the names of their tensors: the same at every call. */
  readonly replace?: ReadonlyMap<string, Weight>;
}

/** An adapter, or what is wrong with its options: one sentence each. */
export interface Resolved {
  readonly adapter: Adapter;
  readonly problems: readonly string[];
}

/** Name of a tensor that an adapter adds to a module of the model, in PEFT's style. */
export function addedTensorName(module: string, part: string): string {
  return `base_model.model.${module}.meft.${part}`;
}

/** Why backward cannot undo the layers of a model with an adapter, as the end of a sentence; null where it can. */
export function undoRefusal({ wiring, undoRefusal }: Pick<Adapter, "wiring" | "undoRefusal">): string | null {
  if (wiring === undefined) {
    return "a layer's output does not tell its input here: take a wiring that couples them";
  }
  return undoRefusal ?? null;
}
