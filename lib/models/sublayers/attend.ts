// SPDX-License-Identifier: Apache-2.0
/** What attention to a sequence itself and to another have in common: heads, and the product behind them. */
import { arenaActivation } from "../../ops/arena_tensor.ts";
import {
  attentionBackward,
  attentionForward,
  type AttentionOptions,
  type AttentionResiduals,
} from "../../ops/attention.ts";
import type { LinearResult } from "../../ops/linear.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import type { Linear } from "../parts.ts";
import type { KeyValues, StepContext } from "./context.ts";
import { hookedBackward, hookedForward } from "./linear.ts";

/** What attends: the product behind the heads, and what a query may see. */
export interface Attending {
  readonly layer: number;
  readonly o: Linear;
  readonly options: AttentionOptions;
}

/**
 * o(softmax(q k^T) v).
 *
 * @param q (T,H,Dh) read     @param to Where it is written or added, (T,D); null when it is not wanted
 */
export function attendForward(
  step: StepContext,
  { layer, o: product, options }: Attending,
  q: Activation,
  { keys, values }: KeyValues,
  to: LinearResult<Tensor> | null,
): AttentionResiduals {
  const { y: o, residuals } = attentionForward(step.k, q, keys, values, options);
  if (to) hookedForward(step, layer, product, joined(o), to);
  return residuals;
}

/**
 * Backward of {@linkcode attendForward}.
 *
 * @param dy (T,D) read     @param wanted Whether anything below the heads needs a gradient
 * @returns Gradients of queries, keys and values, in the arena; null when they are not wanted. @mutates grads of o, what hooks train
 */
export function attendBackward(
  step: StepContext,
  { layer, o: product, options }: Attending,
  residuals: AttentionResiduals,
  dy: Tensor,
  wanted: boolean,
): { dq: Activation; dk: Activation; dv: Activation } | null {
  const o = joined(residuals.o);
  const to = wanted ? { into: arenaActivation(step.k, o.shape) } : null;
  const dO = hookedBackward(step, layer, product, o, dy, to);
  if (dO === null) return null;
  const [, heads = 0] = residuals.q.shape;
  return attentionBackward(step.k, residuals, inHeads(dO, heads), options);
}

/** (T,heads*Dh) seen as (T,heads,Dh). */
export function inHeads({ shape: [tokens = 0, width = 0], data }: Activation, count: number): Activation {
  return { shape: [tokens, count, width / count], data };
}

/** (T,heads,Dh) seen as (T,heads*Dh). */
export function joined({ shape: [tokens = 0, count = 0, headDim = 0], data }: Activation): Activation {
  return { shape: [tokens, count * headDim], data };
}
