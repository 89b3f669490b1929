// SPDX-License-Identifier: Apache-2.0
/**
 * Mixture-of-experts (Shazeer et al., 2017): a token's experts and their weights, its rows brought to them and back. The
 * products between are those of any feed-forward, an expert at a time, on rows that lie together.
 */
import { assertLength, assertShape } from "../core/shape.ts";
import type { Activation, Tensor } from "../tensor/tensor.ts";
import { arenaLike, arenaTensor } from "./arena_tensor.ts";
import type { ExpertChoice } from "./kernels/experts.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** What {@linkcode chooseExpertsBackward} needs. */
export interface ChoiceResiduals {
  /** (T,N). */
  readonly logits: Tensor;
  /** (T,K), each row increasing. */
  readonly chosen: Int32Array;
}

/**
 * The experts of each token: of p = softmax(logits), the K with the largest, ties to the lower number, with p for weights,
 * or p over their sum.
 *
 * @param logits (T,N) float, at least K of N
 * @param made The experts (T,K) of an earlier choice, of logits that may have been others: only their weights are new
 * @returns weights (T,K) float, in the arena, and the experts (T,K), in the host's memory. Backward keeps logits and these.
 * @throws {RangeError} When a shape disagrees
 */
export function chooseExperts(
  k: ModelKernels & Place,
  logits: Tensor,
  choice: ExpertChoice,
  made?: Int32Array,
): { weights: Tensor; residuals: ChoiceResiduals } {
  const [tokens = 0] = logits.shape;
  assertShape("logits of experts", logits.shape, [tokens, choice.experts], "T,N");
  if (made) assertLength("experts chosen before", made, tokens * choice.active);
  const weights = arenaTensor(k, [tokens, choice.active]);
  const chosen = made ?? new Int32Array(tokens * choice.active);
  if (made) k.expertsWeights(weights.data, made, logits.data, choice);
  else k.expertsChoose(weights.data, chosen, logits.data, choice);
  return { weights, residuals: { logits, chosen } };
}

/**
 * The choice, backward, through the weights of the chosen: which they are has no gradient.
 *
 * @param dweights (T,K) float     @returns dlogits (T,N) float, in the arena
 * @throws {RangeError} When a shape disagrees
 */
export function chooseExpertsBackward(
  k: ModelKernels & Place,
  { logits, chosen }: ChoiceResiduals,
  choice: ExpertChoice,
  dweights: Tensor,
): Tensor {
  const [tokens = 0] = logits.shape;
  assertShape("dweights of experts", dweights.shape, [tokens, choice.active], "T,K");
  const dlogits = arenaTensor(k, logits.shape);
  k.expertsChooseBackward(dlogits.data, dweights.data, logits.data, chosen, choice);
  return dlogits;
}

/** Slots in the order of their experts, and within one in that of their tokens. */
export interface ExpertGroups {
  /** (N+1): expert e has rows starts[e] to starts[e + 1]. */
  readonly starts: Int32Array;
  /** (T*K): the slot of each row. */
  readonly slots: Int32Array;
  /** (T*K): the token of each row. */
  readonly tokens: Int32Array;
  /** (T*K): the row of each slot. */
  readonly places: Int32Array;
}

/** Groups the choices (T,K) of all tokens by expert. */
export function groupByExpert(chosen: Int32Array, { experts, active }: ExpertChoice): ExpertGroups {
  const starts = new Int32Array(experts + 1);
  for (const e of chosen) starts[e + 1] = (starts[e + 1] as number) + 1;
  for (let e = 0; e < experts; e++) starts[e + 1] = (starts[e + 1] as number) + (starts[e] as number);
  const next = starts.slice();
  const [slots, tokens] = [new Int32Array(chosen.length), new Int32Array(chosen.length)];
  const places = chosen.map((e, slot) => {
    const row = next[e] as number;
    next[e] = row + 1;
    slots[row] = slot;
    tokens[row] = Math.floor(slot / active);
    return row;
  });
  return { starts, slots, tokens, places };
}

/**
 * Rows by number: y[i] = x[rows[i]]. Backward of it is {@linkcode combineRows} without weights.
 *
 * @param x (T,D) float or bf16     @param rows (P) int32, below T
 * @param options `into` (P,D), of either type: where y is written, and returned
 * @returns y (P,D) of x's type, in the arena
 * @mutates options.into
 */
export function gatherRows<A extends Activation>(
  k: ModelKernels & Place,
  x: A,
  rows: Int32Array,
  options: { readonly into?: A } = {},
): A {
  const width = x.shape[1] ?? 0;
  if (options.into) assertShape("y of gathered rows", options.into.shape, [rows.length, width], "P,D");
  const y = options.into ?? arenaLike(k, x, [rows.length, width]);
  k.expertsGather(y.data, x.data, rows, width);
  return y;
}

/**
 * Sums of rows by token: y[t] = sum over k, in order, of weights[t,k] x[places[t,k]].
 *
 * @param x (T*K,D) float or bf16     @param places (T*K) int32     @param weights (T,K) float; null for 1
 * @param options `addTo` (T,D) float: y is added to it, and it is returned
 * @returns y (T,D) float, in the arena
 * @mutates options.addTo
 * @throws {RangeError} When a shape disagrees
 */
export function combineRows(
  k: ModelKernels & Place,
  x: Activation,
  places: Int32Array,
  weights: Tensor | null,
  options: { readonly active: number; readonly addTo?: Tensor },
): Tensor {
  const { active, addTo } = options;
  const [tokens, width] = [places.length / active, x.shape[1] ?? 0];
  assertShape("x of combined rows", x.shape, [places.length, width], "T*K,D");
  if (weights) assertShape("weights of combined rows", weights.shape, [tokens, active], "T,K");
  if (addTo) assertShape("addTo of combined rows", addTo.shape, [tokens, width], "T,D");
  const y = addTo ?? arenaTensor(k, [tokens, width]);
  k.expertsCombine(y.data, x.data, places, weights?.data ?? null, active, width, addTo !== undefined);
  return y;
}

/**
 * Backward of rows times the weights of their slots: dx[i] = weights[slots[i]] dy[i], dweights[slots[i]] = dy[i].x[i]. A
 * weight may be taken before the last product of an expert: with x its input and dy what came back through it unweighted,
 * that product's output need not be kept.
 *
 * @param x (T*K,F) float or bf16     @param dy (T*K,F) of x's type, turned into dx in place
 * @param slots (T*K) int32     @param weights (T,K) float
 * @returns dx (T*K,F), and dweights (T,K) float, in the arena
 * @mutates dy
 * @throws {RangeError} When a shape disagrees
 */
export function weighRowsBackward<A extends Activation>(
  k: ModelKernels & Place,
  x: A,
  slots: Int32Array,
  weights: Tensor,
  dy: A,
): { dx: A; dweights: Tensor } {
  const width = x.shape[1] ?? 0;
  assertShape("x of weighed rows", x.shape, [slots.length, width], "T*K,F");
  assertShape("dy of weighed rows", dy.shape, x.shape, "T*K,F");
  const dweights = arenaTensor(k, weights.shape);
  k.expertsWeighBackward(dy.data, dweights.data, dy.data, x.data, slots, weights.data, width);
  return { dx: dy, dweights };
}
