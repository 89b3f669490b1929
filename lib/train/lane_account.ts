// SPDX-License-Identifier: Apache-2.0
/** Where the time of a step went, by lane, and what travelled: the account that every step gives. */
import type { AdapterParams } from "../adapters/adapter.ts";
import type { RowTraffic } from "../adapters/sparse/row_slots.ts";
import { type HostTimes, hostTimesSince, hostTotal } from "../ops/host_times.ts";
import type { DeviceTimes } from "../ops/device_clock.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { LaneTimes } from "./lanes.ts";

/** A lane of a step. */
export type LaneName = "model" | "down" | "host" | "up";

/** The lane that works longest; ties to the first named. */
export function busiest(busyMs: Readonly<Record<LaneName, number>>): LaneName {
  const names: readonly LaneName[] = ["model", "host", "up", "down"];
  return names.reduce((most, name) => busyMs[name] > busyMs[most] ? name : most);
}

/** The lanes of one step. Milliseconds and bytes. */
export interface LaneAccount {
  /** The model's lane at work, without what it waited for; on a device by its own clock. */
  readonly modelMs: number;
  /** The model's lane with nothing to do until the host lane had answered. */
  readonly modelWaitMs: number;
  /** Copies from a device to the host, and those lanes without work; 0 where nothing travels. */
  readonly downMs: number;
  readonly downWaitMs: number;
  /** Copies from the host to a device, likewise. */
  readonly upMs: number;
  readonly upWaitMs: number;
  /** The host lane at work, by kind. */
  readonly hostMs: HostTimes;
  /** The host lane without work; 0 where it is the model's lane itself. */
  readonly hostWaitMs: number;
  /** Activations and rows that travelled from the model's memory to the host's, and back. */
  readonly downBytes: number;
  readonly upBytes: number;
  /** Rows asked for, brought and given up; null with placement host. */
  readonly rows: Pick<RowTraffic, "hits" | "misses" | "evictions"> | null;
  /** The lane that worked longest. */
  readonly bound: LaneName;
}

/** A reading of all counters at the start of a step. */
export interface LaneReading {
  readonly hostTimes: HostTimes;
  readonly downBytes: number;
  readonly upBytes: number;
  readonly rows: RowTraffic;
}

const NO_ROWS: RowTraffic = { hits: 0, misses: 0, evictions: 0, upBytes: 0, downBytes: 0 };

/** What the counters say now. */
export function readLanes(k: Kernels, params: AdapterParams): LaneReading {
  const links = [k.link, k.twin().link];
  const rows = params.rowTraffic?.() ?? NO_ROWS;
  return {
    hostTimes: { ...k.hostTimes },
    // Rows travel by the link too, where there is one.
    downBytes: k.link.direct ? rows.downBytes : links.reduce((sum, { bytes }) => sum + bytes.down, 0),
    upBytes: k.link.direct ? rows.upBytes : links.reduce((sum, { bytes }) => sum + bytes.up, 0),
    rows,
  };
}

/** What was timed of a step, in milliseconds. */
export interface StepTimes {
  readonly stepMs: number;
  /** By the caller's clock. */
  readonly times: Pick<LaneTimes, "inlineMs" | "waitMs">;
  /** By the clock of the model's device; null without one. */
  readonly onDevice: DeviceTimes | null;
}

/** The account of a step from what the counters said before and after it. */
export function laneAccount(
  before: LaneReading,
  after: LaneReading,
  { stepMs, times: { inlineMs, waitMs }, onDevice }: StepTimes,
): LaneAccount {
  const hostMs = hostTimesSince(after.hostTimes, before.hostTimes);
  const hostBusy = hostTotal(hostMs);
  const oneLane = onDevice === null && waitMs === 0 && inlineMs > 0;
  const idle = (busyMs: number): number => Math.max(0, stepMs - busyMs);
  const modelMs = onDevice?.modelMs ?? idle(waitMs + (oneLane ? inlineMs + hostMs.update : 0));
  const [downMs, upMs] = [onDevice?.downMs ?? 0, onDevice?.upMs ?? 0];
  return {
    modelMs,
    modelWaitMs: onDevice?.modelWaitMs ?? waitMs,
    downMs,
    downWaitMs: onDevice ? idle(downMs) : 0,
    upMs,
    upWaitMs: onDevice ? idle(upMs) : 0,
    hostMs,
    hostWaitMs: oneLane ? 0 : idle(hostBusy),
    downBytes: after.downBytes - before.downBytes,
    upBytes: after.upBytes - before.upBytes,
    rows: after.rows === NO_ROWS ? null : {
      hits: after.rows.hits - before.rows.hits,
      misses: after.rows.misses - before.rows.misses,
      evictions: after.rows.evictions - before.rows.evictions,
    },
    bound: busiest({ model: modelMs, host: hostBusy, down: downMs, up: upMs }),
  };
}
