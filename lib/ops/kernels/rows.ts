// SPDX-License-Identifier: Apache-2.0
/**
 * What is always the host's: the rows of an adapter, read and updated where they live, on a lane that may work beside the
 * model's. `csrc/include/meft.h` gives the formulas.
 *
 * T tokens, D hidden, R neurons, N experts, P pairs.
 */
import type { Awaitable } from "../../core/awaitable.ts";
import type { JobQueue } from "../../core/job_queue.ts";
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import type { RowCache } from "../row_cache.ts";
import type { HostTimes } from "../host_times.ts";
import type { AdamwStep } from "./model.ts";

/** How a router logit becomes the factor of a neuron's pre-activation. */
export type Gate = "raw" | "softmax" | "sigmoid" | "none";

/** Whether a token uses only its own top-K neurons, or the union of all tokens of the micro-batch. */
export type Scope = "token" | "union";

/** Sizes and modes of one sparse-adapter call; see `meft_sparse`. */
export interface SparseShape {
  readonly gate: Gate;
  readonly scope: Scope;
  readonly tokens: number;
  readonly hidden: number;
  readonly neurons: number;
  readonly experts: number;
  readonly activeExperts: number;
  readonly topK: number;
}

/** The (token, neuron) pairs that fired, in token order, neurons increasing within a token. */
export interface SparsePairs {
  /** (T+1) int32: pairs of token t are [offsets[t], offsets[t+1]). */
  readonly offsets: Int32Array;
  /** (P) int32. */
  readonly neurons: Int32Array;
  /** (P): h . key. */
  readonly dots: Floats;
  /** (P): gate * dot, all > 0. */
  readonly scores: Floats;
}

/** What routing left: backward needs it again. */
export interface SparseRouting {
  /** (T,N) router logits. */
  readonly logits: Floats;
  /** (T,k_e) int32, increasing within a token. */
  readonly experts: Int32Array;
  /** (N) int32: tokens routed to each expert. */
  readonly expertTokens: Int32Array;
}

/** One call of a sparse adapter: what it reads, and where routing and pairs stand. */
export interface SparseCall {
  readonly shape: SparseShape;
  /** (T,D): input of the layer, normalised. */
  readonly h: Floats;
  /** (N,D) f32 parameters of the router. */
  readonly gateWeight: Floats;
  /** (R,D). */
  readonly keys: RowMatrix;
  /** (R,D). */
  readonly values: RowMatrix;
  /** Written by routing, read by everything after it. */
  readonly routing: SparseRouting;
  /** Written by the forward pass, read by the backward pass. */
  readonly pairs: SparsePairs;
}

/** What a call fired. */
export interface FiredPairs extends Pick<SparseCall, "shape" | "routing" | "pairs"> {
  /** Pairs (token, neuron) that fired. */
  readonly pairCount: number;
}

/** The same call on its way back. */
export interface SparseBackwardCall extends SparseCall {
  /** (T,D): read. */
  readonly dy: Floats;
  /** (T,D): accumulated, unless a kernel says that it is written. */
  readonly dh: Floats;
  /** (N,D): accumulated; null for a router that takes no gradient. */
  readonly dgateWeight: Floats | null;
}

/** Which rows were touched, and where the gradients of each lie. */
export interface TouchedRows {
  /** (R) int32: slot of a row, -1 where untouched. */
  readonly slots: Int32Array;
  /** (R) int32: row of a slot. */
  readonly rows: Int32Array;
  /** Slots in use. */
  rowCount: number;
}

/** Where a sparse adapter's row gradients are summed: compact, one slot a touched neuron. */
export interface RowGradients extends TouchedRows {
  /** (slots, D); null when keys are frozen. */
  readonly keys: Floats | null;
  /** (slots, D). */
  readonly values: Floats;
}

/** How rows without a gradient are treated; see `meft_adamw_rows`. */
export type AdamMode = "dense" | "lazy-exact" | "lazy";

/** Optimizer state of a {@linkcode RowMatrix}. */
export interface RowMoments {
  /** (rows, cols). */
  readonly m: Floats;
  /** (rows, cols). */
  readonly v: Floats;
  /** (rows) int32: the step each row is current to; 0 never touched; negative: weights final, moments at -lastStep. */
  readonly lastStep: Int32Array;
}

/** What the rows of a layer need to be brought up to date before they are read; see `meft_adamw_rows_catch_up`. */
export interface RowsBehind {
  /** Null for rows that never lag: frozen ones. */
  readonly keys: RowMoments | null;
  readonly values: RowMoments | null;
  readonly step: AdamwStep;
}

/** How keys and values take their AdamW step inside the backward pass. */
export interface RowStep {
  /** Null for frozen keys. */
  readonly keys: RowMoments | null;
  readonly values: RowMoments;
  readonly mode: AdamMode;
  readonly adam: AdamwStep;
  /** Limit of the norm of this layer's gradients together, or null. */
  readonly clip: number | null;
}

/** How matrix products are made on the host. */
export interface HostProducts {
  /** Each has scratch of its own. */
  readonly threads: number;
  /** Of an operand: bf16 only where the instruction set multiplies it, else f32 with the values of bf16. */
  readonly operandDType: "bf16" | "f32" | "f64";
  /** Floats of a vector register. */
  readonly lanes: number;
  /** Columns of a product that are computed at once. */
  readonly panelColumns: number;
  /** Rows of a product that are cut at once. */
  readonly rowBlock: number;
  /** Bytes of a row between cuts of its terms. */
  readonly depthBytes: number;
  /** Whether bf16 is multiplied in matrix tiles. */
  readonly inTiles: boolean;
}

/** Primitives on rows. All arrays are the host's. */
export interface RowKernels {
  /** How the host's lanes multiply: what their scratch depends on. */
  readonly hostProducts: HostProducts;
  /** Whether the host lane works beside the model's, or inside its caller. */
  readonly hostBeside: boolean;
  /** Jobs of the host lane: whoever reads or writes rows takes its turn here. */
  readonly hostJobs: JobQueue;
  /** What the host lane spent its time on, added up. */
  readonly hostTimes: HostTimes;

  /** A zeroed row matrix owned by the caller. */
  rowMatrix(rows: number, cols: number): RowMatrix;
  /** Writes (count) values into the matrix from row `firstRow`. */
  rowMatrixWrite(matrix: RowMatrix, values: Floats, firstRow: number): void;
  /** Reads rows [firstRow, firstRow + out.length/cols). */
  rowMatrixRead(out: Floats, matrix: RowMatrix, firstRow: number): void;
  /** Row i of out (rows.length,cols) becomes row rows[i] as products read it: joined, or its high halves in a Uint16Array. */
  rowsGather(out: Floats | Uint16Array, matrix: RowMatrix, rows: Int32Array): Awaitable<void>;
  /** Row places[i] of to (…,cols) += row i of from, or is written where places[i] >= firstNew; places are distinct. */
  rowsAdd(to: Floats, from: Floats, places: Int32Array, cols: number, firstNew: number): Awaitable<void>;

  /** The router's logits and choice. @mutates call.routing */
  sparseRoute(call: Omit<SparseCall, "keys" | "values" | "pairs">): Awaitable<void>;
  /**
   * y (T,D) written; pairs filled. Returns the number of pairs there are; when it exceeds the room in
   * `pairs.neurons` (scope union only) nothing else is valid and the caller calls again with room.
   */
  sparseForward(y: Floats, call: Omit<SparseCall, "gateWeight">): Awaitable<number>;
  /** y (T,D) written: the sums of pairs that are kept, which the forward that left them gave. Nothing is chosen. */
  sparseValues(y: Floats, call: Pick<SparseCall, "shape" | "values" | "pairs">): Awaitable<void>;
  /**
   * `sparseRoute` and `sparseForward` of scope union where the union is known: neurons, increasing. Of the routing the logits
   * alone are written.
   *
   * @param y Null when only the pairs are wanted     @returns As `sparseForward`. @mutates call.routing.logits, call.pairs
   */
  sparseForwardAmong(y: Floats | null, call: SparseCall, united: Int32Array): Awaitable<number>;
  /** Gives the neurons of the first `pairCount` pairs a slot each. @mutates touched */
  sparseTouch(touched: TouchedRows, neurons: Int32Array, pairCount: number): void;
  /** Row gradients: slots >= firstNewSlot are written, others added to. @mutates call.dh, call.dgateWeight, gradients */
  sparseBackward(call: SparseBackwardCall, gradients: RowGradients, firstNewSlot: number): Awaitable<void>;
  /**
   * sparseBackward and adamwRows in one, for row gradients that nothing needs afterwards: they are never written, and
   * the weights and moments get the same bits. Returns the sums of squares of the gradients of router (0 when
   * dgateWeight is null), keys and values; when their sum is not finite no row has moved.
   * @mutates call.dh, call.dgateWeight, call.keys, call.values, their moments
   */
  sparseBackwardStep(
    call: SparseBackwardCall,
    step: RowStep,
  ): Awaitable<readonly [router: number, keys: number, values: number]>;

  /**
   * `sparseRoute`, catching up of the routed experts' rows, and `sparseForward`, in one hand-over to the host lane.
   *
   * @param y Null when only the pairs are wanted; a token that would get NaN then gets NaN for the scores it has
   * @param behind Null when no row lags     @returns As `sparseForward`. @mutates call.keys, call.values, their moments
   */
  sparseBranchForward(y: Floats | null, call: SparseCall, behind: RowsBehind | null): Awaitable<number>;
  /** `sparseTouch` and `sparseBackward`; dh is written. The gradients have room for all that is touched. */
  sparseBranchBackward(call: SparseBackwardCall, gradients: RowGradients): Awaitable<void>;

  /** Rows that fired, each once, increasing. */
  firedRows(call: FiredPairs): Int32Array;
  /** Of each pair that fired the column of its neuron among `rows`, which stand in `columns`; -1 where it is none of them. */
  pairColumns(call: FiredPairs, rows: Int32Array, columns: Int32Array): Int32Array;
  /** Slots for `capacity` of the rows numbered below `rows`, all free. */
  rowCache(capacity: number, rows: number): RowCache;
  /** From gradients of scores to those of dots and of the router's logits: see `gate_gradients.ts`. @mutates dscores, dlogits */
  gateGradients(call: FiredPairs, dscores: Floats, dlogits: Floats): void;

  /** One AdamW step of rows[0..rowCount); gradient row i belongs to rows[i]. @mutates matrix, moments */
  adamwRows(
    matrix: RowMatrix,
    moments: RowMoments,
    grad: Floats,
    rows: Int32Array,
    rowCount: number,
    mode: AdamMode,
    step: AdamwStep,
  ): Awaitable<void>;
  /** lazy-exact: replays missed steps of the named blocks of rows. @mutates matrix, moments */
  adamwRowsCatchUp(
    matrix: RowMatrix,
    moments: RowMoments,
    blocks: Int32Array,
    blockRows: number,
    allMoments: boolean,
    step: AdamwStep,
  ): Awaitable<void>;
}
