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
  /** Memory that every half uses for a while. */
  readonly scratch: StepScratch;
}

/** Memory of the half under way; what is in it does not outlive that half's forward or backward. */
export interface StepScratch {
  /** (T,D) norm(x), the input of the half's weights and hook. Backward makes it again where it is needed. */
  readonly h: Tensor;
  /** (T,D) forward: what the hook adds; backward: the hook's share of dh. Null without a hook on a branch. */
  readonly branch: Tensor | null;
}

/** Scratch of a pass over `tokens` tokens, in the arena. */
export function stepScratch(k: Kernels, config: ModelConfig, hooks: Hooks, tokens: number): StepScratch {
  const shape = [tokens, config.hiddenSize];
  const hooked = hooks.ffn !== undefined || hooks.attention !== undefined;
  return { h: arenaTensor(k, shape), branch: hooked ? arenaTensor(k, shape) : null };
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
  { k, scratch: { h, branch } }: StepContext,
  hook: BranchHook | undefined,
  layer: number,
  y: Tensor,
  frozen: () => Kept,
): Promise<{ hooked: Hooked | null; kept: Kept }> {
  if (hook === undefined || branch === null) return { hooked: null, kept: frozen() };
  const [residuals, kept] = await beside(hook.forward(layer, h, branch), frozen);
  addInto(k, y, branch);
  return { hooked: { residuals }, kept };
}

/**
 * A half's backward with its hook, started before the frozen work and awaited after it, each with a sum of its own.
 *
 * @param dy (T,D) read by both
 * @param frozen Returns the frozen half's dh (T,D), or null when nothing below needs it
 * @returns dh (T,D), or null when there is neither
 */
export async function backwardBeside(
  { k, scratch: { h, branch: share } }: StepContext,
  hook: BranchHook | undefined,
  layer: number,
  hooked: Hooked | null,
  dy: Tensor,
  frozen: () => Tensor | null,
): Promise<Tensor | null> {
  if (hook === undefined || hooked === null || share === null) return frozen();
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
