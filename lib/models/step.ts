// SPDX-License-Identifier: Apache-2.0
/** What every half block of one pass shares, and how a half works together with its hook. */
import type { Awaitable } from "../core/awaitable.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { addInto } from "../ops/add.ts";
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Activation, Tensor, Weight } from "../tensor/tensor.ts";
import type { BranchHook, Hooks } from "./hooks.ts";
import type { ModelConfig, RopeRows } from "./model.ts";

/** Keys and values of one layer, (rows,Hkv,Dh). */
export interface KeyValues {
  readonly keys: Activation;
  readonly values: Activation;
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
  /** Given the gradients of what `extend` returned, gives those of what it was given; the same when absent. */
  readonly extendBackward?: ((layer: number, gradients: KeyValues) => KeyValues) | undefined;
  /** Memory that every half uses for a while. */
  readonly scratch: StepScratch;
  /** Given while a hook is under way and all that can be done without it is: lets the other half of the micro-batch work. */
  readonly yieldTurn?: (() => Promise<void>) | undefined;
  /** What was waited for; absent when nobody asks. */
  readonly waits?: WaitAccount | undefined;
}

/** Is told when the model's lane waits for hooks. */
export interface WaitAccount {
  /** It was given all that it can do before a hook has answered. */
  begin(): void;
  /** It is given work again, which may still have to wait for the answer to arrive. */
  end(): void;
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

/** A hook's second forward on the same h. */
export interface HookedAgain {
  /** What it left the first time; null without a hook. */
  readonly first: Hooked | null;
  /** Whether y must be complete once more. */
  readonly needsOutput: boolean;
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
 * @param again Given when the hook saw this h before
 */
export async function forwardBeside<Kept>(
  step: StepContext,
  hook: BranchHook | undefined,
  layer: number,
  y: Tensor,
  frozen: () => Kept,
  again?: HookedAgain,
): Promise<{ hooked: Hooked | null; kept: Kept }> {
  const { k, scratch: { h, branch } } = step;
  if (hook === undefined || branch === null) return { hooked: null, kept: frozen() };
  const first = hook.residualsOnHost === true ? again?.first ?? null : null;
  if (first !== null && !again?.needsOutput) return { hooked: first, kept: frozen() };
  const before = k.hostArena.mark();
  const [residuals, kept] = await beside(
    step,
    hook.forward(layer, h, branch, first?.residuals),
    frozen,
    branch,
  );
  await hook.finish?.(layer, residuals, h, branch);
  addInto(k, y, branch);
  if (first !== null) k.hostArena.release(before); // what was left the first time is there already
  return { hooked: first ?? { residuals }, kept };
}

/**
 * A half's backward with its hook, started before the frozen work and awaited after it, each with a sum of its own.
 *
 * @param dy (T,D) read by both
 * @param frozen Returns the frozen half's dh (T,D), or null when nothing below needs it
 * @returns dh (T,D), or null when there is neither
 */
export async function backwardBeside(
  step: StepContext,
  hook: BranchHook | undefined,
  layer: number,
  hooked: Hooked | null,
  dy: Tensor,
  frozen: () => Tensor | null,
): Promise<Tensor | null> {
  const { k, scratch: { h, branch: share } } = step;
  if (hook === undefined || hooked === null || share === null) return frozen();
  const [, dh] = await beside(step, hook.backward(layer, hooked.residuals, h, dy, share), frozen, share);
  await hook.finishBackward?.(layer, hooked.residuals, h, dy, share);
  return dh === null ? share : addInto(k, dh, share);
}

/**
 * Does `work` while something is under way, then lets the other half of the micro-batch work. What is under way is awaited
 * even when all that fails: it may still use the arena.
 *
 * @param answer Where what comes of it arrives
 */
async function beside<A, B>(
  { k, yieldTurn, waits }: StepContext,
  underWay: Awaitable<A>,
  work: () => B,
  answer: Tensor,
): Promise<[A, B]> {
  if (underWay instanceof Promise) underWay.catch(() => {}); // should it fail before it is awaited
  let done: B;
  try {
    done = work();
    if (yieldTurn) await yieldTurn();
  } catch (error) {
    await Promise.allSettled([underWay]);
    throw error;
  }
  if (!(underWay instanceof Promise)) {
    k.link.arrive(answer.data);
    return [underWay, done];
  }
  waits?.begin();
  const result = await underWay;
  k.link.arrive(answer.data);
  waits?.end();
  return [result, done];
}
