// SPDX-License-Identifier: Apache-2.0
/**
 * What a training step will take each way in which the rows of an adapter can be computed with: the run's own passes, counted
 * against lanes in virtual time that have the rates of the machine. The update at the step's end is left out: it is the same
 * whatever the way.
 */
import type { Placement } from "../adapters/adapter.ts";
import { busiest, type LaneName } from "../train/lane_account.ts";
import { rowPlacement } from "../train/placement.ts";
import { type Run, tokensPerStep } from "../train/plan.ts";
import { rememberedBy } from "../train/run_options.ts";
import { fullLoad, type PassSize } from "./batch_sizes.ts";
import { type CountedRun, countedRun } from "./counted_passes.ts";
import type { LaneRates } from "./machine/rates.ts";
import { type VirtualLanes, virtualLanes } from "./virtual_lanes.ts";

/** A way to compute a step. */
export interface StepWay {
  readonly placement: Placement;
  readonly halves: 1 | 2;
}

/** One way to run a step, and what it will take. */
export interface StepPrediction extends StepWay {
  readonly stepMs: number;
  /** Milliseconds that each lane works. */
  readonly busyMs: Readonly<Record<LaneName, number>>;
  /** The lane that works longest. */
  readonly bound: LaneName;
  readonly downBytes: number;
  readonly upBytes: number;
  /** What the device holds for it besides the model. */
  readonly deviceBytes: number;
}

/** What a run's passes depend on. */
export type TimedRun = Pick<Run, "model" | "adapterKind" | "settings" | "rows">;

/** Every way that the adapter leaves open, whole and in halves: the quickest first. */
export async function predictSteps(run: TimedRun, rates: LaneRates): Promise<StepPrediction[]> {
  const { placements, splitRefusal } = run.adapterKind;
  const parts = splitRefusal === undefined ? [1, 2] as const : [1] as const;
  const ways = placements.flatMap((placement) => parts.map((halves): StepWay => ({ placement, halves })));
  const all: StepPrediction[] = [];
  for (const way of ways) all.push(await predictOne(run, way, rates));
  return all.toSorted((a, b) => a.stepMs - b.stepMs);
}

/** Seconds and bytes that were spent. */
type Spent = Readonly<Record<LaneName | "end" | "downBytes" | "upBytes", number>>;

async function predictOne(run: TimedRun, way: StepWay, rates: LaneRates): Promise<StepPrediction> {
  const lanes = virtualLanes(rates);
  const counted = countedWay(run, way, lanes);
  const longest = run.settings.batch.seqLen;
  let spent = reading(counted, lanes);
  let before = spent;
  for (const { size, count } of microBatches(run)) {
    await counted.train(size, { longest });
    const after = reading(counted, lanes);
    spent = combined(spent, after, (sum, value, key) => sum + count * (value - before[key]));
    before = after;
  }
  await counted.params.collectGradients?.();
  spent = combined(spent, reading(counted, lanes), (sum, value, key) => sum + value - before[key]);
  const busyMs = {
    model: 1000 * spent.model,
    down: 1000 * spent.down,
    host: 1000 * spent.host,
    up: 1000 * spent.up,
  };
  return {
    ...way,
    stepMs: 1000 * spent.end,
    busyMs,
    bound: busiest(busyMs),
    downBytes: spent.downBytes,
    upBytes: spent.upBytes,
    deviceBytes: counted.kernels.device?.bytes().held ?? 0,
  };
}

/** The run to be counted on a device, whether or not its model is on one. */
function countedWay(
  { model, adapterKind, settings, rows }: TimedRun,
  { placement, halves }: StepWay,
  lanes: VirtualLanes,
): CountedRun {
  return countedRun(model, adapterKind, {
    reach: "expected",
    ...rememberedBy(settings),
    tokensPerStep: tokensPerStep(settings),
    halves,
    placement: rowPlacement({ ...rows, placement }),
    kernels: { ...model.kernels, device: true, hostBeside: true },
    lanes,
  });
}

/** Micro-batches of a step, of full rows: those that are alike are counted once, but the first, which finds nothing there. */
function microBatches(
  { model, settings: { batch: { size, micro, seqLen } } }: TimedRun,
): { readonly size: PassSize; readonly count: number }[] {
  const full = Math.floor(size / micro);
  const sizes = [[1, micro], [full - 1, micro], [1, size - full * micro]] as const;
  return sizes.filter(([count, rows]) => count * rows > 0).map(([count, rows]) => ({
    size: fullLoad(rows, seqLen, model.config.head),
    count,
  }));
}

function reading({ kernels }: CountedRun, lanes: VirtualLanes): Spent {
  const links = [kernels.link, kernels.twin().link];
  const sum = (way: "down" | "up"): number => links.reduce((bytes, link) => bytes + link.bytes[way], 0);
  return { ...lanes.busy, end: lanes.end(), downBytes: sum("down"), upBytes: sum("up") };
}

function combined(a: Spent, b: Spent, of: (a: number, b: number, key: keyof Spent) => number): Spent {
  const keys = Object.keys(a) as (keyof Spent)[];
  return Object.fromEntries(keys.map((key) => [key, of(a[key], b[key], key)])) as Spent;
}
