// SPDX-License-Identifier: Apache-2.0
/** Where the time of a step goes: the model's lane, the adapter's, the optimizer's. */
import { andThen } from "../core/awaitable.ts";
import { type BranchHook, type Hooks, type LinearHook, wrappedHooks } from "../models/hooks.ts";
import type { WaitAccount } from "../models/sublayers/context.ts";
import type { DeviceClock } from "../ops/device_clock.ts";
import type { Awaitable } from "../core/awaitable.ts";

/** Milliseconds, from any fixed point. */
export type Clock = () => number;

/** Milliseconds spent, by lane. */
export interface LaneTimes {
  /** Adapter work done inside the caller: the model waits. */
  inlineMs: number;
  /** Adapter work under way beside the model. */
  besideMs: number;
  /** Adapter work that the model's lane does itself, as part of its own: where rows travel to it. */
  ownMs: number;
  /** What the model's lane waited for adapter work beside it. */
  waitMs: number;
}

/** Nothing spent yet. */
export function createLaneTimes(): LaneTimes {
  return { inlineMs: 0, besideMs: 0, ownMs: 0, waitMs: 0 };
}

/** Adds what the model's lane waits for hooks, and tells the device's clock. @mutates times.waitMs */
export function waitAccount(times: LaneTimes, clock: Clock, device: DeviceClock | null): WaitAccount {
  let start = 0;
  return {
    begin() {
      start = clock();
      device?.pause();
    },
    end() {
      times.waitMs += clock() - start;
      device?.resume();
    },
  };
}

/** The same hooks, with the time of every call added to `times`. */
export function timedHooks(hooks: Hooks, times: LaneTimes, clock: Clock): Hooks {
  return wrappedHooks(hooks, {
    linear: (hook) => timedLinearHook(hook, times, clock),
    branch: (hook) => timedHook(hook, times, clock),
  });
}

function timedHook(hook: BranchHook, times: LaneTimes, clock: Clock): BranchHook {
  const timed = <T>(call: () => Awaitable<T>): Awaitable<T> => {
    const start = clock();
    const result = call();
    if (!(result instanceof Promise)) {
      times.inlineMs += clock() - start;
      return result;
    }
    return result.then((value) => {
      times.besideMs += clock() - start;
      return value;
    });
  };
  const timedOwn = (call: () => Awaitable<void>): Awaitable<void> => {
    const start = clock();
    return andThen(call(), () => {
      times.ownMs += clock() - start;
    });
  };
  const { finish, finishBackward } = hook;
  return {
    ...hook,
    forward: (layer, h, y, first) => timed(() => hook.forward(layer, h, y, first)),
    backward: (layer, residuals, h, dy, dh) => timed(() => hook.backward(layer, residuals, h, dy, dh)),
    ...(finish && { finish: (...args) => timedOwn(() => finish(...args)) }),
    ...(finishBackward &&
      { finishBackward: (...args) => timedOwn(() => finishBackward(...args)) }),
  };
}

function timedLinearHook(hook: LinearHook, times: LaneTimes, clock: Clock): LinearHook {
  const timed = (call: () => void): void => {
    const start = clock();
    call();
    times.inlineMs += clock() - start;
  };
  return {
    has: (layer, site) => hook.has(layer, site),
    forward: (layer, site, x, y) => timed(() => hook.forward(layer, site, x, y)),
    backward: (layer, site, x, dy, dx) => timed(() => hook.backward(layer, site, x, dy, dx)),
  };
}
