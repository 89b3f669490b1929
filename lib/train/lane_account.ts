// SPDX-License-Identifier: Apache-2.0
/** Where the time of a step went, by lane, and what travelled: the account that every step gives. */
import type { AdapterParams } from "../adapters/adapter.ts";
import type { RowTraffic } from "../adapters/row_slots.ts";
import { type HostTimes, hostTimesSince, hostTotal } from "../ops/host_times.ts";
import type { Kernels } from "../ops/kernels.ts";
import { busiest, type LaneName } from "./cost_model.ts";

/** The lanes of one step. Milliseconds and bytes. */
export interface LaneAccount {
  /** The model's lane at work, without what it waited for. */
  readonly modelMs: number;
  /** The model's lane with nothing to do until the host lane had answered. */
  readonly modelWaitMs: number;
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
    downBytes: links.reduce((sum, { bytes }) => sum + bytes.down, rows.downBytes),
    upBytes: links.reduce((sum, { bytes }) => sum + bytes.up, rows.upBytes),
    rows,
  };
}

/**
 * The account of a step.
 *
 * @param stepMs All of it     @param inlineMs Host work done inside the caller, where there is no lane beside the model's
 * @param waitMs What the model's lane waited for hooks
 */
export function laneAccount(
  before: LaneReading,
  after: LaneReading,
  stepMs: number,
  inlineMs: number,
  waitMs: number,
): LaneAccount {
  const hostMs = hostTimesSince(after.hostTimes, before.hostTimes);
  const hostBusy = hostTotal(hostMs);
  const oneLane = waitMs === 0 && inlineMs > 0;
  const modelMs = Math.max(0, stepMs - waitMs - (oneLane ? inlineMs + hostMs.update : 0));
  return {
    modelMs,
    modelWaitMs: waitMs,
    hostMs,
    hostWaitMs: oneLane ? 0 : Math.max(0, stepMs - hostBusy),
    downBytes: after.downBytes - before.downBytes,
    upBytes: after.upBytes - before.upBytes,
    rows: after.rows === NO_ROWS ? null : {
      hits: after.rows.hits - before.rows.hits,
      misses: after.rows.misses - before.rows.misses,
      evictions: after.rows.evictions - before.rows.evictions,
    },
    bound: busiest({ model: modelMs, host: hostBusy, down: 0, up: 0 }),
  };
}
