// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel table: every numeric primitive that a backend supplies. Raw arrays and sizes; shapes are checked once, by
 * the op pairs beside this file, which are what everybody else calls. `csrc/include/meft.h` gives the exact formulas.
 *
 * // size: one table and the records that its calls take, read together
 *
 * T tokens, D hidden, V vocabulary, H heads, Hkv kv heads, Dh head size, R neurons, N experts, P pairs.
 */
import type { ActivationDType, ComputeDType } from "../core/dtype.ts";
import type { DropoutMask } from "../core/rng.ts";
import type { Awaitable } from "../core/awaitable.ts";
import type { JobQueue } from "../core/job_queue.ts";
import type { Arena } from "../native/arena.ts";
import type { DeviceMemory } from "../native/device_memory.ts";
import type { Ledger, MemoryClass } from "../native/ledger.ts";
import type { ActivationArray, Floats, RowMatrix, Weight } from "../tensor/tensor.ts";
import type { DeviceClock } from "./device_clock.ts";
import type { HostLink } from "./host_link.ts";
import type { HostTimes } from "./host_times.ts";

export type { Awaitable } from "../core/awaitable.ts";

/** Shape of one attention call; see `meft_attention`. */
export interface AttentionShape {
  readonly queryRows: number;
  readonly keyRows: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Keys a query sees at most, itself included; 0 for no limit. */
  readonly window: number;
  readonly scale: number;
}

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

/** Where row gradients are summed: compact, one slot a touched neuron. */
export interface RowGradients {
  /** (R) int32: slot of a neuron, -1 where untouched. */
  readonly slots: Int32Array;
  /** (R) int32: neuron of a slot. */
  readonly rows: Int32Array;
  /** Slots in use. */
  rowCount: number;
  /** (slots, D); null when keys are frozen. */
  readonly keys: Floats | null;
  /** (slots, D). */
  readonly values: Floats;
}

/** AdamW hyper-parameters of one step. `step` counts from 1. */
export interface AdamwStep {
  readonly step: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Multiplies every gradient first: clipping. */
  readonly gradScale: number;
  /** lrHistory[i] is the learning rate of step i+1; at least `step` entries. */
  readonly lrHistory: Floats;
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
}

/** Every primitive. Arguments: outputs, inputs, sizes. "accumulated" outputs are added to. */
export interface Kernels {
  readonly backend: "cpu" | "cuda" | "reference";
  /** Type of the residual stream, statistics, parameters' gradients and losses. */
  readonly float: "f32" | "f64";
  /** How an `Activation` is stored. */
  readonly activationDType: ActivationDType;
  /** Type of matrix products. */
  readonly compute: ComputeDType;
  /** How the host's lanes multiply: what their scratch depends on. */
  readonly hostProducts: HostProducts;
  /** Where op pairs take their results from. */
  readonly arena: Arena;
  readonly ledger: Ledger;
  /** Host memory of a pass: what the host lane reads and keeps for backward. Given back apart from `arena`. */
  readonly hostArena: Arena;
  /** How activations reach the host lane and come back. */
  readonly link: HostLink;
  /** Whether the host lane works beside the model's, or inside its caller. */
  readonly hostBeside: boolean;
  /** Jobs of the host lane: whoever reads or writes rows takes its turn here. */
  readonly hostJobs: JobQueue;
  /** What the host lane spent its time on, added up. */
  readonly hostTimes: HostTimes;
  /** The same kernels with a second arena and link, for the other half of a micro-batch. Always the same object. */
  twin(): Kernels;
  /** Where the model's weights and activations lie; null when that is the host's memory, as everything else does. */
  readonly device: DeviceMemory | null;
  /** Where the time of the device goes; null without one. */
  readonly deviceClock: DeviceClock | null;

  /**
   * Zeroed floats where the model works: for what it reads and writes at every step. On a device their elements are out of
   * reach here, like those of the arena: use copy, zero and read.
   */
  modelFloats(count: number, memoryClass: MemoryClass): Floats;
  /** Like `modelFloats`, of the activations' type. */
  modelActivations(count: number, memoryClass: MemoryClass): ActivationArray;
  /** to = from, of the same length and type; each the host's or the device's. */
  copy<A extends ActivationArray>(to: A, from: A): void;
  /** x = 0. */
  zero(x: ActivationArray): void;
  /** The values as the host sees them: the array itself, or a copy of one that lies on the device. */
  read<A extends ActivationArray>(x: A): A;
  /** x *= factor. */
  scale(x: Floats, factor: number): void;

  /** Enters what the backend's own scratch memory has grown to in the ledger, as "workspace". */
  accountWorkspace?(): void;
  /** Zeroed floats owned by the caller, of the backend's float type. */
  floats(count: number): Floats;
  /** Uninitialised floats from the arena. */
  arenaFloats(count: number): Floats;
  /** The same of the activations' type. */
  arenaActivations(count: number): ActivationArray;
  /** Uninitialised floats from the host arena. */
  hostFloats(count: number): Floats;
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
  /** N(0, std^2), a pure function of (seed, stream, index): `lib/core/rng.ts`. */
  randomNormal(out: Floats, seed: number, stream: number, std: number): void;
  /** y = x / (1 - p) where the mask keeps an element, else 0; or that added to y: `lib/core/rng.ts`. In place allowed. */
  dropout(y: ActivationArray, x: ActivationArray, mask: DropoutMask, accumulate: boolean): void;

  linearForward(
    y: ActivationArray,
    x: ActivationArray,
    w: Weight,
    bias: Weight | null,
    tokens: number,
    accumulate: boolean,
  ): void;
  linearBackwardData(
    dx: ActivationArray,
    dy: ActivationArray,
    w: Weight,
    tokens: number,
    accumulate: boolean,
  ): void;
  /** dweight (rows,cols) and dbias (rows) accumulated. */
  linearBackwardWeight(
    dweight: Floats,
    dbias: Floats | null,
    dy: ActivationArray,
    x: ActivationArray,
    tokens: number,
    rows: number,
    cols: number,
  ): void;
  embeddingForward(y: Floats, ids: Int32Array, w: Weight): void;
  embeddingBackward(dweight: Floats, ids: Int32Array, dy: Floats, vocabulary: number, hidden: number): void;

  rmsNormForward(
    y: ActivationArray,
    rstd: Floats,
    x: ActivationArray,
    w: Weight,
    rows: number,
    eps: number,
  ): void;
  /** dx, dy and x are of one type. */
  rmsNormBackward(
    dx: ActivationArray,
    dweight: Floats | null,
    dy: ActivationArray,
    x: ActivationArray,
    rstd: Floats,
    w: Weight,
    rows: number,
    accumulate: boolean,
  ): void;
  /** In place on x (T,heads,headDim). */
  ropeApply(
    x: ActivationArray,
    cos: Floats,
    sin: Floats,
    positions: Int32Array,
    heads: number,
    headDim: number,
    inverse: boolean,
  ): void;
  /** All of one type. */
  swigluForward(y: ActivationArray, gate: ActivationArray, up: ActivationArray): void;
  /** All of one type. */
  swigluBackward(
    dgate: ActivationArray,
    dup: ActivationArray,
    dy: ActivationArray,
    gate: ActivationArray,
    up: ActivationArray,
  ): void;
  reluForward(y: Floats, x: Floats): void;
  reluBackward(dx: Floats, dy: Floats, y: Floats): void;
  /** y += x, both of one type. */
  add<A extends ActivationArray>(y: A, x: A): void;
  /** Sum of squares in f64; not finite when x holds a value that is not. */
  sumSquares(x: Floats): number;

  /** spans (S,4) int32: {queryBegin, queryEnd, keyBegin, keyEnd}. All but lse are of the activations' type. */
  attentionForward(
    o: ActivationArray,
    lse: Floats,
    q: ActivationArray,
    k: ActivationArray,
    v: ActivationArray,
    spans: Int32Array,
    shape: AttentionShape,
  ): void;
  attentionBackward(
    dq: ActivationArray,
    dk: ActivationArray,
    dv: ActivationArray,
    dO: ActivationArray,
    q: ActivationArray,
    k: ActivationArray,
    v: ActivationArray,
    o: ActivationArray,
    lse: Floats,
    spans: Int32Array,
    shape: AttentionShape,
  ): void;
  /** loss (T) written; logits (T,V) become scale * dloss/dlogits in place unless scale is 0. Targets < 0 do not count. */
  crossEntropy(loss: Floats, logits: Floats, targets: Int32Array, vocabulary: number, scale: number): void;

  /** gateWeight (N,D) f32 parameters. */
  sparseRoute(routing: SparseRouting, h: Floats, gateWeight: Floats, shape: SparseShape): Awaitable<void>;
  /**
   * y (T,D) written; pairs filled. Returns the number of pairs there are; when it exceeds the room in
   * `pairs.neurons` (scope union only) nothing else is valid and the caller calls again with room.
   */
  sparseForward(
    y: Floats,
    pairs: SparsePairs,
    h: Floats,
    routing: SparseRouting,
    keys: RowMatrix,
    values: RowMatrix,
    shape: SparseShape,
  ): Awaitable<number>;
  /** Gives the neurons of the first `pairCount` pairs a slot each. @mutates gradients.slots, rows, rowCount */
  sparseTouch(gradients: RowGradients, neurons: Int32Array, pairCount: number): void;
  /** dh (T,D) accumulated; dgateWeight (N,D) accumulated or null; row gradients: slots >= firstNewSlot are written. */
  sparseBackward(
    dh: Floats,
    dgateWeight: Floats | null,
    gradients: RowGradients,
    firstNewSlot: number,
    dy: Floats,
    h: Floats,
    routing: SparseRouting,
    pairs: SparsePairs,
    gateWeight: Floats,
    keys: RowMatrix,
    values: RowMatrix,
    shape: SparseShape,
  ): Awaitable<void>;
  /**
   * sparseBackward and adamwRows in one, for row gradients that nothing needs afterwards: they are never written, and
   * the weights and moments get the same bits. Returns the sums of squares of the gradients of router (0 when
   * dgateWeight is null), keys and values; when their sum is not finite no row has moved. Absent where a backend has
   * no such kernel.
   * dh (T,D) and dgateWeight (N,D) or null accumulated. @mutates keys, values, their moments
   */
  sparseBackwardStep?(
    dh: Floats,
    dgateWeight: Floats | null,
    step: RowStep,
    dy: Floats,
    h: Floats,
    routing: SparseRouting,
    pairs: SparsePairs,
    gateWeight: Floats,
    keys: RowMatrix,
    values: RowMatrix,
    shape: SparseShape,
  ): Awaitable<readonly [router: number, keys: number, values: number]>;

  /**
   * `sparseRoute`, catching up of the routed experts' rows, and `sparseForward`, in one hand-over to the host lane.
   *
   * @param y Null when only the pairs are wanted; a token that would get NaN then gets NaN for the scores it has
   * @param behind Null when no row lags     @returns As `sparseForward`. @mutates keys, values, their moments
   */
  sparseBranchForward(
    y: Floats | null,
    routing: SparseRouting,
    pairs: SparsePairs,
    h: Floats,
    gateWeight: Floats,
    keys: RowMatrix,
    values: RowMatrix,
    behind: RowsBehind | null,
    shape: SparseShape,
  ): Awaitable<number>;
  /** `sparseTouch` and `sparseBackward`; dh (T,D) is written. The gradients have room for all that is touched. */
  sparseBranchBackward(
    dh: Floats,
    dgateWeight: Floats | null,
    gradients: RowGradients,
    dy: Floats,
    h: Floats,
    routing: SparseRouting,
    pairs: SparsePairs,
    gateWeight: Floats,
    keys: RowMatrix,
    values: RowMatrix,
    shape: SparseShape,
  ): Awaitable<void>;

  /** out (T,width) written: the value of each pair at its token and column, 0 elsewhere; pairs of column -1 are left out. */
  pairsScatter(out: Floats, values: Floats, offsets: Int32Array, columns: Int32Array, width: number): void;
  /** out (P): of each pair with a column, what stands there in dense (T,width); others stay. */
  pairsGather(out: Floats, dense: Floats, offsets: Int32Array, columns: Int32Array, width: number): void;

  /** One AdamW step of a dense parameter. @mutates w, m, v */
  adamwDense(w: Floats, m: Floats, v: Floats, grad: Floats, step: AdamwStep): void;
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

/** What a kernel table and its twin have each of their own. */
export type OwnMemory = Pick<
  Kernels,
  "arena" | "arenaFloats" | "arenaActivations" | "hostArena" | "hostFloats" | "link"
>;
