// SPDX-License-Identifier: Apache-2.0
/** The bar of the GPU backend, number by number: met, missed, or not measured. */
import { busiest } from "../../../lib/train/lane_account.ts";
import { median } from "../statistics.ts";
import { type Cell, type GpuPreset, type Group, title } from "./cells.ts";
import type { CellResult } from "./measure.ts";

/** A rival's steps. */
export interface RivalResult {
  readonly name: string;
  readonly tokens: number;
  readonly method: "none" | "lora" | "dense" | "dense-host-adam";
  readonly neurons: number | null;
  readonly ms: readonly number[];
  readonly bytes: number;
  readonly trained: number;
  readonly loss: number;
}

/** What is judged. */
export interface Measured {
  readonly preset: GpuPreset;
  /** Whether times are a GPU's: the emulated device keeps bytes, not time. */
  readonly timed: boolean;
  /** Of the frozen model alone, by title of the group: bytes by the ledger. */
  readonly frozenBytes: Readonly<Record<string, number>>;
  /** What driver and libraries take besides. */
  readonly contextBytes: number;
  readonly cells: readonly CellResult[];
  readonly rivals: readonly RivalResult[];
  /** Cells that the preset has. */
  readonly wanted: readonly Cell[];
}

/** One bar. */
export interface Verdict {
  readonly bar: string;
  readonly bound: string;
  /** The worst of what was measured; null when nothing was. */
  readonly value: number | null;
  readonly verdict: "met" | "missed" | "not measured";
  /** Where the worst was. */
  readonly where: string;
  /** Numbers it was drawn from, and those that it should be drawn from. */
  readonly measured: number;
  readonly wanted: number;
}

/** A number that a bar is about. */
interface Point {
  readonly value: number;
  readonly where: string;
}

const HOST_MEMORY = 1.03;
const FLAT_MEMORY = 1.005;
const CARD_BYTES = 24e9;
const SCHEDULE = 1.1;
const CACHED_SPEED = 0.9;
const HOST_SPEED = 0.63;

/** Judges every bar. */
export function judge(measured: Measured): Verdict[] {
  const { preset, cells, wanted, timed } = measured;
  const host = cells.filter(({ cell }) => cell.placement === "host");
  const count = (of: (cell: Cell) => boolean): number => wanted.filter(of).length;
  const sizes = preset.tokens.length;
  const atMost = bar.bind(null, "at most");
  const atLeast = bar.bind(null, "at least");
  const times = (points: Point[]): Point[] => timed ? points : [];
  const isHost = (cell: Cell): boolean => cell.placement === "host";
  return [
    atMost(
      "GPU memory of placement host over the frozen model's own",
      HOST_MEMORY,
      ownMemory(measured, host),
      count(isHost),
    ),
    atMost("the same: largest r over smallest r", FLAT_MEMORY, flatMemory(preset, host), 2 * 2 * sizes),
    atMost(
      "GPU bytes of placement host, context included",
      CARD_BYTES,
      wholeMemory(measured, host),
      count(isHost),
    ),
    atMost(
      "step over its busiest lane",
      SCHEDULE,
      times(cells.filter(({ cell }) => cell.method === "sparse").map(overBusiest)),
      count(({ method }) => method === "sparse"),
    ),
    atLeast(
      "speed of the best placement, with a row cache and accumulation, of the frozen model's",
      CACHED_SPEED,
      times(cells.filter(({ cell }) => cell.placement === "cache").map(speedOf)),
      count(({ placement }) => placement === "cache"),
    ),
    atLeast(
      `speed of placement host at r=${preset.lead.neurons}, of the frozen model's`,
      HOST_SPEED,
      times(host.filter(({ cell }) => cell.rows?.neurons === preset.lead.neurons).map(speedOf)),
      count((cell) => isHost(cell) && cell.rows?.neurons === preset.lead.neurons),
    ),
    atLeast("frozen model's tokens/s over PyTorch's", 1, times(overPyTorch(measured, "none")), sizes),
    atLeast("LoRA's tokens/s over PEFT's", 1, times(overPyTorch(measured, "lora")), sizes),
  ];
}

/** The verdict on a number that must be at most, or at least, the bound everywhere. */
function bar(
  way: "at most" | "at least",
  name: string,
  bound: number,
  points: readonly Point[],
  wanted: number,
): Verdict {
  const sign = way === "at most" ? 1 : -1;
  // What is not a number is the worst, and meets no bound.
  const worst = points.reduce<Point | null>(
    (most, point) =>
      most !== null && (Number.isNaN(most.value) || sign * point.value <= sign * most.value) ? most : point,
    null,
  );
  const verdict = worst === null ? "not measured" : sign * worst.value <= sign * bound ? "met" : "missed";
  return {
    bar: name,
    bound: `${way} ${bound >= 1e9 ? `${bound / 1e9} GB` : bound}`,
    value: worst?.value ?? null,
    verdict,
    where: worst?.where ?? "",
    measured: points.length,
    wanted,
  };
}

function ownMemory({ frozenBytes }: Measured, host: readonly CellResult[]): Point[] {
  return host.flatMap(({ cell, peak }) => {
    const own = frozenBytes[title(cell)];
    return own === undefined ? [] : [{ value: peak.total / own, where: cell.name }];
  });
}

/** Ends of r in cells that are alike else. */
function flatMemory({ rows }: GpuPreset, host: readonly CellResult[]): Point[] {
  const [smallest, largest] = [rows[0], rows.at(-1)];
  return host.flatMap((large) => {
    if (large.cell.rows?.neurons !== largest?.neurons) return [];
    const small = host.find(({ cell }) =>
      cell.rows?.neurons === smallest?.neurons && sameGroup(cell, large.cell) &&
      cell.accumulation === large.cell.accumulation
    );
    return small ? [{ value: large.peak.total / small.peak.total, where: large.cell.name }] : [];
  });
}

function wholeMemory({ contextBytes }: Measured, host: readonly CellResult[]): Point[] {
  return host.map(({ cell, peak }) => ({ value: peak.total + contextBytes, where: cell.name }));
}

function overBusiest({ cell, stepMs, busyMs }: CellResult): Point {
  return { value: stepMs.median / busyMs[busiest(busyMs)], where: `${cell.name}: ${busiest(busyMs)}` };
}

function speedOf({ cell, speedShare }: CellResult): Point {
  return { value: speedShare, where: cell.name };
}

/** Our tokens a second over theirs on the same tokens: everything stored, one micro-batch a step. */
function overPyTorch({ cells, rivals }: Measured, method: "none" | "lora"): Point[] {
  return rivals.filter((rival) => rival.method === method).flatMap(({ name, tokens, ms }) => {
    const ours = cells.find(({ cell }) => cell.method === "lora" && cell.tokens === tokens);
    if (!ours) return [];
    const mine = (method === "none" ? ours.frozenMs : ours.stepMs).median;
    return [{ value: median(ms) / mine, where: name }];
  });
}

function sameGroup(a: Group, b: Group): boolean {
  return a.tokens === b.tokens && a.activations === b.activations;
}
