// SPDX-License-Identifier: Apache-2.0
/** Where the host is the bound of a step: which of its kernels, how near to the host's limit, and what another card would see. */
import { busiest } from "../../../lib/train/lane_account.ts";
import type { HostTimes } from "../../../lib/ops/host_times.ts";
import type { Limits } from "../kernels.ts";
import type { GpuPreset } from "./cells.ts";
import type { CellResult } from "./measure.ts";

/** One cell whose host lane works longest. */
export interface HostBound {
  readonly cell: string;
  readonly kernel: keyof HostTimes;
  readonly ms: number;
  /** GFLOP/s or GB/s, by the limit. */
  readonly rate: number;
  readonly limit: number;
  readonly unit: "GFLOP/s" | "GB/s";
  readonly share: number;
  /** Speed of the step as a share of the frozen model's on a 4090-class card beside this host, by the cost model. */
  readonly speedShareOn4090: number | null;
}

/** Bytes that a row's optimizer step moves for each element: weight, gradient and two moments read, three written. */
const STEP_BYTES = 28;

/** All cells of placement host that the host bounds. */
export function hostBounds(preset: GpuPreset, cells: readonly CellResult[], limits: Limits): HostBound[] {
  return cells.flatMap((result) => {
    const { cell, busyMs, hostMs, on4090, placement } = result;
    if (cell.rows === null || placement?.placement !== "host" || busiest(busyMs) !== "host") return [];
    const kernel = longest(hostMs);
    const { amount, bound } = workOf(kernel, preset, result, limits);
    const rate = amount / 1e9 / (hostMs[kernel] / 1000);
    return [{
      cell: cell.name,
      kernel,
      ms: hostMs[kernel],
      rate,
      limit: limits[bound],
      unit: bound === "updateGigabytes" ? "GB/s" : "GFLOP/s",
      share: rate / limits[bound],
      speedShareOn4090: on4090 && on4090.busyMs.model / on4090.stepMs,
    }];
  });
}

function longest(hostMs: HostTimes): keyof HostTimes {
  const kinds = Object.keys(hostMs) as (keyof HostTimes)[];
  return kinds.reduce((most, kind) => hostMs[kind] > hostMs[most] ? kind : most);
}

/** Operations or bytes of a step, counted for pairs that all fire: fewer do, so that the share is at most this. */
function workOf(
  kernel: keyof HostTimes,
  { sizes: { hidden, layers }, activeExperts, topK }: GpuPreset,
  { cell, trained }: CellResult,
  { bf16Gflops, f32Gflops }: Limits,
): { amount: number; bound: keyof Limits } {
  const { neurons, experts } = cell.rows ?? { neurons: 0, experts: 1 };
  const tokens = layers * cell.tokens * cell.accumulation;
  const pairs = Math.min(topK, activeExperts * neurons / experts);
  const products = bf16Gflops >= f32Gflops ? "bf16Gflops" : "f32Gflops";
  const of = (perToken: number) => ({ amount: 2 * tokens * hidden * perToken, bound: products } as const);
  switch (kernel) {
    case "routing":
      return of(experts);
    case "scoring":
      return of(activeExperts * neurons / experts);
    case "values":
      return of(pairs);
    case "backward":
      return of(4 * pairs + 2 * activeExperts);
    case "update":
    case "catchUp": {
      const share = 1 - Math.exp(-cell.tokens * cell.accumulation * pairs / neurons);
      return { amount: STEP_BYTES * trained * share, bound: "updateGigabytes" };
    }
  }
}
