// SPDX-License-Identifier: Apache-2.0
/** What every half block of one pass shares, and how a half works together with its hook. */
import type { Awaitable, Kernels } from "../ops/kernels.ts";
import { addInto } from "../ops/add.ts";
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Tensor, Weight } from "../tensor/tensor.ts";
import type { BranchHook, Hooks } from "./hooks.ts";
import type { ModelConfig, RopeRows } from "./model.ts";

/** Keys and values of one layer, (rows,Hkv,Dh). */
export interface KeyValues {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** One pass over the tokens of a batch. */
export interface StepContext {
  readonly k: Kernels;
  readonly config: ModelConfig;
  readonly hooks: Hooks;
  readonly rope: RopeRows;
  /** (S,4) int32 for attention: rows of queries and of what `extend` returns. */
  readonly spans: Int32Array;
  /** Puts new keys and values behind those of earlier calls, when decoding; null when these are all. */
  readonly extend: ((layer: number, fresh: KeyValues) => KeyValues) | null;
}

/** What a hook left for backward. */
export interface Hooked {
  readonly residuals: unknown;
}

/** Whether backward adds to any of these. */
export function isTrained(weights: readonly (Weight | null)[]): boolean {
  return weights.some((weight) => weight !== null && weight.grad !== null);
}

/**
 * A half's forward with its hook: the hook is started on h before the frozen work and awaited after it.
 *
 * @param y (T,D) the hook's output is added. @mutates y
 * @param frozen Writes y and returns what it keeps for backward
 */
export async function forwardBeside<Kept>(
  k: Kernels,
  hook: BranchHook | undefined,
  layer: number,
  h: Tensor,
  y: Tensor,
  frozen: () => Kept,
): Promise<{ hooked: Hooked | null; kept: Kept }> {
  const [result, kept] = await beside(hook?.forward(layer, h), frozen);
  if (result === undefined) return { hooked: null, kept };
  addInto(k, y, result.y);
  return { hooked: { residuals: result.residuals }, kept };
}

/**
 * A half's backward with its hook, started before the frozen work and awaited after it, each with a sum of its own.
 *
 * @param dy (T,D) read by both
 * @param frozen Returns the frozen half's dh (T,D), or null when nothing below needs it
 * @returns dh (T,D), or null when there is neither
 */
export async function backwardBeside(
  k: Kernels,
  hook: BranchHook | undefined,
  layer: number,
  hooked: Hooked | null,
  h: Tensor,
  dy: Tensor,
  frozen: () => Tensor | null,
): Promise<Tensor | null> {
  if (hook === undefined || hooked === null) return frozen();
  const share = arenaTensor(k, h.shape);
  share.data.fill(0);
  const [, dh] = await beside(hook.backward(layer, hooked.residuals, h, dy, share), frozen);
  return dh === null ? share : addInto(k, dh, share);
}

/** Does `work` while something is under way. That is awaited even when the work fails: it may still use the arena. */
async function beside<A, B>(underWay: Awaitable<A>, work: () => B): Promise<[A, B]> {
  let done: B;
  try {
    done = work();
  } catch (error) {
    await Promise.allSettled([underWay]);
    throw error;
  }
  return [await underWay, done];
}
