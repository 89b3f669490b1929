// SPDX-License-Identifier: Apache-2.0
/** How a sublayer works together with the hooks on its branch. */
import type { Again } from "../../activations/policy.ts";
import { addInto } from "../../ops/add.ts";
import type { Awaitable } from "../../core/awaitable.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { BranchHook } from "../hooks.ts";
import type { StepContext, WaitAccount } from "./context.ts";

/** What a hook left for backward. */
export interface Hooked {
  readonly residuals: unknown;
}

/** The hooks beside a sublayer, and what they read. */
export interface Beside {
  readonly hooks: readonly BranchHook[];
  readonly layer: number;
  /** (T,D) what the sublayer's products read too. */
  readonly h: Tensor;
}

/** How a hook is started, and where what comes of it arrives. */
interface Start<Result> {
  readonly answer: Tensor;
  run(): Awaitable<Result>;
}

/**
 * A sublayer's forward with its hooks: they are started on h before the frozen work and awaited after it.
 *
 * @param beside `again` given when the hooks saw this h before: what the sublayer left then
 * @param y (T,D) the hooks' outputs are added, where they are wanted. @mutates y
 * @param frozen Writes y and returns what it keeps for backward
 */
export async function forwardBeside<Kept>(
  step: StepContext,
  { hooks, layer, h, again }: Beside & {
    readonly again?: Again<{ readonly hooked: readonly Hooked[] }> | undefined;
  },
  y: Tensor,
  frozen: () => Kept,
): Promise<{ hooked: readonly Hooked[]; kept: Kept }> {
  const { k, scratch: { branch } } = step;
  // What lies in the host arena is there already: such a hook runs for its output alone.
  const firsts = hooks.map((hook, i) => hook.residualsOnHost === true ? again?.first.hooked[i] : undefined);
  const running = [...hooks.entries()].filter(([i]) => firsts[i] === undefined || again?.needsOutput);
  const before = k.hostArena.mark();
  const starts = running.map(([i, hook]): Start<unknown> => {
    const answer = branch[i] as Tensor;
    return { answer, run: () => hook.forward(layer, h, answer, firsts[i]?.residuals) };
  });
  const [results, kept] = await beside(step, starts, frozen);
  const hooked = [...firsts];
  for (const [at, [i, hook]] of running.entries()) {
    const answer = branch[i] as Tensor;
    await hook.finish?.(layer, results[at], h, answer);
    if (again?.needsOutput !== false) addInto(k, y, answer);
    hooked[i] ??= { residuals: results[at] };
  }
  // Unless one ran for the first time, and left there what backward needs.
  if (running.length > 0 && running.every(([i]) => firsts[i] !== undefined)) k.hostArena.release(before);
  return { hooked: hooked as Hooked[], kept };
}

/**
 * A sublayer's backward with its hooks, started before the frozen work and awaited after it, each with a sum of its own.
 *
 * @param dy (T,D) read by all
 * @param frozen Returns the frozen sublayer's dh (T,D), or null when nothing below needs it
 * @returns dh (T,D), or null when there is none
 */
export async function backwardBeside(
  step: StepContext,
  { hooks, layer, h }: Beside,
  hooked: readonly Hooked[],
  dy: Tensor,
  frozen: () => Tensor | null,
): Promise<Tensor | null> {
  const { k, scratch: { branch } } = step;
  const residuals = (i: number): unknown => hooked[i]?.residuals;
  const starts = hooks.map((hook, i): Start<void> => {
    const answer = branch[i] as Tensor;
    return { answer, run: () => hook.backward(layer, residuals(i), h, dy, answer) };
  });
  let [, dh] = await beside(step, starts, frozen);
  for (const [i, hook] of hooks.entries()) {
    const share = branch[i] as Tensor;
    await hook.finishBackward?.(layer, residuals(i), h, dy, share);
    dh = dh === null ? share : addInto(k, dh, share);
  }
  return dh;
}

/**
 * Starts hooks one after the other and does `work` while they are under way, then lets the other part of the micro-batch
 * work. What is under way is awaited even when all that fails: it may still use the arena.
 */
async function beside<A, B>(
  { k, yieldTurn, waits }: StepContext,
  starts: readonly Start<A>[],
  work: () => B,
): Promise<[A[], B]> {
  const underWay: Awaitable<A>[] = [];
  try {
    for (const { run } of starts) {
      const result = run();
      if (result instanceof Promise) result.catch(() => {}); // should it fail before it is awaited
      underWay.push(result);
    }
    const done = work();
    if (yieldTurn && starts.length > 0) await yieldTurn();
    return [await arrived(k, starts, underWay, waits), done];
  } catch (error) {
    await Promise.allSettled(underWay);
    throw error;
  }
}

/** What comes of hooks, one after the other, once it was told to the link. */
async function arrived<A>(
  k: Kernels,
  starts: readonly Start<A>[],
  underWay: readonly Awaitable<A>[],
  waits: WaitAccount | undefined,
): Promise<A[]> {
  const results: A[] = [];
  for (const [i, result] of underWay.entries()) {
    const isLate = result instanceof Promise;
    if (isLate) waits?.begin();
    results.push(isLate ? await result : result);
    k.link.arrive((starts[i] as Start<A>).answer.data);
    if (isLate) waits?.end();
  }
  return results;
}
