// SPDX-License-Identifier: Apache-2.0
/** How a sublayer works together with the hook on its branch. */
import type { Again } from "../../activations/policy.ts";
import { addInto } from "../../ops/add.ts";
import type { Awaitable } from "../../core/awaitable.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { BranchHook } from "../hooks.ts";
import type { StepContext } from "./context.ts";

/** What a hook left for backward. */
export interface Hooked {
  readonly residuals: unknown;
}

/**
 * A sublayer's forward with its hook: the hook is started on h before the frozen work and awaited after it.
 *
 * @param y (T,D) the hook's output is added. @mutates y
 * @param frozen Writes y and returns what it keeps for backward
 * @param again Given when the hook saw this h before: what the sublayer left then
 */
export async function forwardBeside<Kept>(
  step: StepContext,
  hook: BranchHook | undefined,
  layer: number,
  y: Tensor,
  frozen: () => Kept,
  again?: Again<{ readonly hooked: Hooked | null }>,
): Promise<{ hooked: Hooked | null; kept: Kept }> {
  const { k, scratch: { h, branch } } = step;
  if (hook === undefined || branch === null) return { hooked: null, kept: frozen() };
  const first = hook.residualsOnHost === true ? again?.first.hooked ?? null : null;
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
 * A sublayer's backward with its hook, started before the frozen work and awaited after it, each with a sum of its own.
 *
 * @param dy (T,D) read by both
 * @param frozen Returns the frozen sublayer's dh (T,D), or null when nothing below needs it
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
 * Does `work` while something is under way, then lets the other part of the micro-batch work. What is under way is awaited
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
