// SPDX-License-Identifier: Apache-2.0
/**
 * A device and the host beside it in virtual time: four lanes that each do one thing after another, the model's, the copies
 * down, the host's, the copies up. Passes that only count are driven against it as real ones are against a device, so the order
 * of all work, and what waits for what, is the engine's own.
 */
import type { BranchHook, Hooks } from "../models/hooks.ts";
import { wrappedHooks } from "../models/hooks.ts";
import type { HostWork, LaneMark, LaneWatch, Work } from "../ops/counting/counts.ts";
import type { DeviceStream } from "../ops/host_link.ts";
import type { LaneName } from "../train/lane_account.ts";
import type { LaneRates } from "./machine/rates.ts";

/** Lanes, and how far they have come. */
export interface VirtualLanes extends LaneWatch {
  /** Seconds after which everything that was given is done. */
  end(): number;
  /** Seconds that each lane has worked. */
  readonly busy: Readonly<Record<LaneName, number>>;
  /** The same hooks: what they start on the host lane goes on beside their caller, until it asks for what came of it. */
  watched(hooks: Hooks): Hooks;
}

/** Idle lanes of these rates. */
export function virtualLanes(rates: LaneRates): VirtualLanes {
  const done: Record<LaneName, number> = { model: 0, down: 0, host: 0, up: 0 };
  const busy: Record<LaneName, number> = { model: 0, down: 0, host: 0, up: 0 };
  /** When what the host has written for a copy up is there. */
  const written = new WeakMap<ArrayBufferLike, number>();
  /** Of whoever gives the work: nothing begins sooner. */
  let now = 0;
  /** Whether work is given by a job of the host lane, for which that lane waits, and not whoever gave it the job. */
  let beside = false;
  const give = (lane: LaneName, seconds: number): void => {
    done[lane] = Math.max(done[lane], now) + seconds;
    busy[lane] += seconds;
  };
  const meet = (at: number): void => {
    if (at > now) now = at + rates.meetingSeconds;
  };
  const model = (kind: keyof Work, amount: number): void => {
    if (kind !== "streamBytes") give("model", amount / rates.modelFlopsPerSecond);
  };
  const host = (kind: HostWork, amount: number, to: ArrayBufferView | null): void => {
    give("host", amount / rates[HOST_RATES[kind]]);
    if (to) written.set(to.buffer, done.host);
    if (!beside) meet(done.host);
  };
  const link: LaneWatch["link"] = {
    copy(stream, to, from) {
      if (stream === "up") meet(written.get(from.buffer) ?? 0);
      give(stream, to.byteLength / (stream === "up" ? rates.upBytesPerSecond : rates.downBytesPerSecond));
    },
    record(stream: DeviceStream, again: LaneMark | null) {
      const mark = again ?? { at: 0 };
      mark.at = Math.max(done[stream], now);
      return mark;
    },
    streamWaits(stream, { at }) {
      done[stream] = Math.max(done[stream], at);
    },
    hostWaits({ at }) {
      if (!beside) meet(at);
      else if (at > Math.max(done.host, now)) done.host = at + rates.meetingSeconds;
    },
  };
  /** Starts a job; @returns when the host lane is done with it, 0 when it had nothing to do. */
  const start = <T>(job: () => T): { readonly result: T; readonly at: number } => {
    const before = busy.host;
    beside = true;
    const result = job();
    beside = false;
    return { result, at: busy.host === before ? 0 : done.host };
  };
  return {
    busy,
    model,
    host,
    link,
    read: () => meet(done.model),
    end: () => Math.max(now, ...Object.values(done)),
    watched: (hooks) =>
      wrappedHooks(hooks, { linear: (hook) => hook, branch: (hook) => watchedBranch(hook, start, meet) }),
  };
}

/** By which rate each kind of host work goes. */
const HOST_RATES = {
  scores: "scoreFlopsPerSecond",
  pairs: "pairFlopsPerSecond",
  bytes: "hostBytesPerSecond",
} as const satisfies Record<HostWork, keyof LaneRates>;

/** A hook whose results are met when its caller asks for them. */
function watchedBranch(
  hook: BranchHook,
  start: <T>(job: () => T) => { readonly result: T; readonly at: number },
  meet: (at: number) => void,
): BranchHook {
  const [forward, backward] = [new Map<number, number>(), new Map<number, number>()];
  const started = <T>(ends: Map<number, number>, layer: number, job: () => T): T => {
    const { result, at } = start(job);
    ends.set(layer, at);
    return result;
  };
  return {
    ...hook,
    forward: (layer, ...rest) => started(forward, layer, () => hook.forward(layer, ...rest)),
    backward: (layer, ...rest) => started(backward, layer, () => hook.backward(layer, ...rest)),
    finish(layer, ...rest) {
      meet(forward.get(layer) ?? 0);
      return hook.finish?.(layer, ...rest);
    },
    finishBackward(layer, ...rest) {
      meet(backward.get(layer) ?? 0);
      return hook.finishBackward?.(layer, ...rest);
    },
  };
}
