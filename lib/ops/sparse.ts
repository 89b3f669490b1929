// SPDX-License-Identifier: Apache-2.0
/**
 * The sparse adapter (MEFT, Hao et al., ACL 2024): a router picks experts, a token fires few neurons of theirs.
 *
 *   g = W_g h,  tau = top-k_e(g),  z_j = c_e(j) * (h . key_j) for j in the experts tau,  I = top-K(z) with z > 0,
 *   y = sum over j in I of z_j * value_j,       c = g (raw), softmax(g), sigmoid(g) or 1 (none)
 */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import { assertInteger, assertLength, assertShape } from "../core/shape.ts";
import type { Floats, RowMatrix, Tensor } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import type {
  FiredPairs,
  Gate,
  RowGradients,
  RowKernels,
  RowsBehind,
  RowStep,
  Scope,
  SparseBackwardCall,
  SparsePairs,
  SparseRouting,
  SparseShape,
} from "./kernels/rows.ts";
import type { Place } from "./kernels/place.ts";
import { growRowGradients } from "./row_gradients.ts";
import { fitPairs, ownPairs, type SparseTurn } from "./sparse_pairs.ts";

/** Sizes and modes of an adapter; those of the call come from its tensors. */
export interface SparseConfig {
  readonly gate: Gate;
  readonly scope: Scope;
  /** N: neurons must be a multiple of it. */
  readonly experts: number;
  /** k_e, at most N. */
  readonly activeExperts: number;
  /** K neurons a token fires at most; may exceed what its experts hold. */
  readonly topK: number;
}

/** Parameters of one layer's adapter, and where their gradients go. */
export interface SparseParams {
  /** (N,D) float: W_g. */
  readonly gateWeight: Floats;
  /** (N,D) float, accumulated; null for a frozen router. */
  readonly gateGrad: Floats | null;
  /** (R,D): row j is key j, the column j of the paper's W_A. An expert's neurons are contiguous. */
  readonly keys: RowMatrix;
  /** (R,D): W_B. */
  readonly values: RowMatrix;
  /** Row gradients; `keys` null for frozen keys. Replaced by a larger one when more rows are touched than fit. */
  gradients: RowGradients;
}

/** What {@linkcode sparseBackward} needs, besides h: which neurons fired, for which token, how strongly. */
export type SparseResiduals = FiredPairs;

/** What {@linkcode sparseForward} may be given besides. */
export interface SparseForwardOptions extends SparseTurn {
  /** Rows of the routed experts are brought up to date before they are read; null or absent when none lags. */
  readonly behind?: RowsBehind | null;
  /** (T,D): where y is written, and returned. */
  readonly into?: Tensor;
}

/**
 * Sparse adapter, forward: route, bring rows up to date, score, sum. Everything it needs is allocated before it returns.
 *
 * @param h (T,D) float, read: the normalised input of the feed-forward
 * @returns y (T,D) float, in the arena unless `into`, and residuals, in the host arena. Backward keeps h and the residuals.
 * @mutates options.into
 * @throws {RangeError} When a shape or a size disagrees, naming it and both values
 */
export function sparseForward(
  k: RowKernels & Place,
  params: SparseParams,
  h: Tensor,
  config: SparseConfig,
  options: SparseForwardOptions = {},
): Awaitable<{ y: Tensor; residuals: SparseResiduals }> {
  if (options.into) assertShape("y of the sparse adapter", options.into.shape, h.shape, "T,D");
  const y = options.into ?? arenaTensor(k, h.shape);
  return andThen(fire(k, params, h, y.data, config, options), (residuals) => ({ y, residuals }));
}

/**
 * The first part of {@linkcode sparseForward}: which pairs fire, and how strongly, without their sum.
 *
 * @param h (T,D) float, read     @returns residuals, in the host arena
 * @throws {RangeError} When a shape or a size disagrees, naming it and both values
 */
export function sparseSelect(
  k: RowKernels & Place,
  params: SparseParams,
  h: Tensor,
  config: SparseConfig,
  options: Omit<SparseForwardOptions, "into"> = {},
): Awaitable<SparseResiduals> {
  return fire(k, params, h, null, config, options);
}

function fire(
  k: RowKernels & Place,
  params: SparseParams,
  h: Tensor,
  y: Floats | null,
  config: SparseConfig,
  { behind = null, ...options }: SparseForwardOptions,
): Awaitable<SparseResiduals> {
  const shape = sparseShape(params, h, config);
  const routing: SparseRouting = {
    logits: k.hostFloats(shape.tokens * shape.experts),
    experts: k.hostArena.i32(shape.tokens * shape.activeExperts),
    expertTokens: k.hostArena.i32(shape.experts),
  };
  const { gateWeight, keys, values } = params;
  const scoreInto = (pairs: SparsePairs): Awaitable<number> =>
    k.sparseBranchForward(y, { shape, h: h.data, gateWeight, keys, values, routing, pairs }, behind);
  return fitPairs(k, shape, routing, scoreInto, options);
}

/**
 * Sparse adapter, backward. For a pair (t, j) that fired, with a_j = h . key_j and e = e(j):
 *
 *   dz_j = value_j . dy,  dvalue_j += z_j dy,  dkey_j += c_e dz_j h,  dh = sum of c_e dz_j key_j,  dc_e = sum of a_j dz_j
 *   raw: dg = dc;  softmax: dg_e = c_e (dc_e - sum_f c_f dc_f);  sigmoid: dg = c (1 - c) dc;  none: dg = 0
 *   dW_g[e] += dg_e h,  dh += sum over e of dg_e W_g[e]
 *
 * @param h  (T,D) float as given to forward     @param dy (T,D) float, read
 * @param dh (T,D) float, written
 * @mutates dh, params.gateGrad, params.gradients (touched rows only)
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function sparseBackward(
  k: RowKernels & Place,
  params: SparseParams,
  residuals: SparseResiduals,
  h: Tensor,
  dy: Tensor,
  dh: Tensor,
): Awaitable<void> {
  const { shape, pairCount } = residuals;
  const call = backwardCall(params, residuals, h, dy, dh);
  params.gradients = growRowGradients(
    k,
    params.gradients,
    Math.min(pairCount, ownPairs(shape)),
    shape.hidden,
  );
  return k.sparseBranchBackward(call, params.gradients);
}

/**
 * {@linkcode sparseBackward} in which keys and values take their AdamW step at once; their gradients are never written.
 * For row gradients that nothing needs afterwards: one pass a step, and no clipping by the norm of all gradients.
 *
 * @param options `dh`: (T,D) float, written; `step`: how the rows step
 * @returns Sums of squares of the gradients of router, keys and values; when one is not finite no row has moved
 * @throws {RangeError} When a shape disagrees
 * @mutates dh, params (rows and gateGrad; of `gradients` only which rows were touched), the moments of `step`
 */
export function sparseBackwardStep(
  k: RowKernels & Place,
  params: SparseParams,
  residuals: SparseResiduals,
  h: Tensor,
  dy: Tensor,
  { dh, step }: { readonly dh: Tensor; readonly step: RowStep },
): Awaitable<readonly [router: number, keys: number, values: number]> {
  const call = backwardCall(params, residuals, h, dy, dh);
  k.sparseTouch(params.gradients, residuals.pairs.neurons, residuals.pairCount);
  dh.data.fill(0);
  return k.sparseBackwardStep(call, step);
}

/** @throws {RangeError} When a shape disagrees */
function backwardCall(
  { gateWeight, gateGrad, keys, values }: SparseParams,
  { shape, routing, pairs }: SparseResiduals,
  h: Tensor,
  dy: Tensor,
  dh: Tensor,
): SparseBackwardCall {
  for (const [name, tensor] of Object.entries({ h, dy, dh })) {
    assertShape(`${name} of the sparse adapter`, tensor.shape, [shape.tokens, shape.hidden], "T,D");
  }
  const dgateWeight = shape.gate === "none" ? null : gateGrad;
  return {
    shape,
    h: h.data,
    gateWeight,
    keys,
    values,
    routing,
    pairs,
    dy: dy.data,
    dh: dh.data,
    dgateWeight,
  };
}

/** Sizes of a call. @throws {RangeError} When a shape or a size disagrees */
export function sparseShape(params: SparseParams, h: Tensor, config: SparseConfig): SparseShape {
  const { keys, values, gateWeight, gateGrad, gradients } = params;
  const [tokens = 0] = h.shape;
  assertShape("h of the sparse adapter", h.shape, [tokens, keys.cols], "T,D");
  assertShape("values", [values.rows, values.cols], [keys.rows, keys.cols], "R,D");
  assertInteger("experts", config.experts, 1, Math.max(1, keys.rows));
  assertInteger("activeExperts", config.activeExperts, 1, config.experts);
  assertInteger("topK", config.topK, 1);
  if (keys.rows % config.experts !== 0) {
    throw new RangeError(`neurons is ${keys.rows}, expected a multiple of experts = ${config.experts}`);
  }
  assertLength("gateWeight", gateWeight, config.experts * keys.cols);
  if (gateGrad) assertLength("gateGrad", gateGrad, config.experts * keys.cols);
  assertLength("gradients.slots", gradients.slots, keys.rows);
  return {
    gate: config.gate,
    scope: config.scope,
    tokens,
    hidden: keys.cols,
    neurons: keys.rows,
    experts: config.experts,
    activeExperts: config.activeExperts,
    topK: config.topK,
  };
}

/** What happened in one call of the adapter. */
export interface SparseActivity {
  /** (N): tokens routed to each expert. */
  readonly expertLoad: Int32Array;
  /** Neurons that fired for at least one token, increasing. */
  readonly firedNeurons: Int32Array;
  /** (T): neurons that fired for each token. */
  readonly pairsPerToken: Int32Array;
  /** Mean of pairsPerToken; 0 without tokens. */
  readonly meanPairsPerToken: number;
  /** Fired neurons over all neurons. */
  readonly firedFraction: number;
  /** (T+1): the neurons that fired for token t are `pairNeurons[pairOffsets[t]]` up to `pairOffsets[t+1]`, without it. */
  readonly pairOffsets: Int32Array;
  /** (P): neuron of each pair. */
  readonly pairNeurons: Int32Array;
  /** (P) float: z, how strongly it fired; its value row enters the token's output with this weight. */
  readonly pairScores: Floats;
}

/** Which experts and neurons fired, for which token. Copies: it outlives the arena. */
export function inspect(residuals: SparseResiduals): SparseActivity {
  const { shape, routing, pairs, pairCount } = residuals;
  const firedNeurons = Int32Array.from(new Set(pairs.neurons)).sort();
  const pairsPerToken = Int32Array.from(
    { length: shape.tokens },
    (_, t) => (pairs.offsets[t + 1] as number) - (pairs.offsets[t] as number),
  );
  return {
    expertLoad: routing.expertTokens.slice(),
    firedNeurons,
    pairsPerToken,
    meanPairsPerToken: shape.tokens === 0 ? 0 : pairCount / shape.tokens,
    firedFraction: shape.neurons === 0 ? 0 : firedNeurons.length / shape.neurons,
    pairOffsets: pairs.offsets.slice(0, shape.tokens + 1),
    pairNeurons: pairs.neurons.slice(0, pairCount),
    pairScores: pairs.scores.slice(0, pairCount),
  };
}
