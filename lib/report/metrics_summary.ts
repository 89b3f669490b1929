// SPDX-License-Identifier: Apache-2.0
/** What a report needs of `metrics.jsonl`, gathered line by line in constant memory: plain data that survives JSON. */
import type { PlacedLine } from "../train/metrics_log.ts";
import { addPoint, emptySeries, type ThinSeries } from "./thin_series.ts";

/** Metrics that a report draws over the steps. */
const CHARTED = [
  ...[
    "loss",
    "evalLoss",
    "lr",
    "gradNorm",
    "tokensPerSecond",
    "modelMs",
    "adapterMs",
    "optimizerMs",
  ] as const,
  ...["activeNeurons", "deadNeurons", "heldBytes"] as const,
] as const;

/** One of {@linkcode CHARTED}. */
export type Charted = typeof CHARTED[number];

/** What is said of the first and the last step; null where its line does not. */
export interface StepSummary {
  readonly step: number;
  readonly totalSteps: number | null;
  readonly loss: number | null;
  /** Seconds since 1970. */
  readonly time: number | null;
}

/** A log so far. */
export interface MetricsSummary {
  readonly series: Readonly<Record<Charted, ThinSeries>>;
  first: StepSummary | null;
  last: StepSummary | null;
  /** The newest one: not every line has it. */
  evalLoss: number | null;
  /** The newest ones, by class. */
  peakBytes: Readonly<Record<string, number>> | null;
  /** First byte of the newest line with the load of experts, and the byte after it: such lines can be long. */
  expertLoadAt: readonly [start: number, end: number] | null;
  damagedLines: number;
  /** Where the first damaged line begins. */
  firstDamagedByte: number | null;
}

/** A log without lines. */
export function emptySummary(): MetricsSummary {
  return {
    series: Object.fromEntries(CHARTED.map((name) => [name, emptySeries()])) as Record<Charted, ThinSeries>,
    first: null,
    last: null,
    evalLoss: null,
    peakBytes: null,
    expertLoadAt: null,
    damagedLines: 0,
    firstDamagedByte: null,
  };
}

/** Adds the next line. @mutates summary */
export function addLine(summary: MetricsSummary, { start, end, line }: PlacedLine): void {
  if (line === null) {
    summary.damagedLines++;
    summary.firstDamagedByte ??= start;
    return;
  }
  for (const name of CHARTED) {
    const value = numberOf(line[name]);
    if (value !== null) addPoint(summary.series[name], line.step, value);
  }
  summary.last = {
    step: line.step,
    totalSteps: numberOf(line.totalSteps),
    loss: numberOf(line.loss),
    time: numberOf(line.time),
  };
  summary.first ??= summary.last;
  summary.evalLoss = numberOf(line.evalLoss) ?? summary.evalLoss;
  summary.peakBytes = numbersOf(line.peakBytes) ?? summary.peakBytes;
  if (Array.isArray(line.expertLoad)) summary.expertLoadAt = [start, end];
}

/** One sentence about damaged lines; null when there are none. */
export function damageNote({ damagedLines, firstDamagedByte }: MetricsSummary): string | null {
  if (damagedLines === 0) return null;
  const lines = damagedLines === 1 ? "1 line" : `${damagedLines} lines`;
  return `${lines} of metrics.jsonl cannot be read and ${damagedLines === 1 ? "is" : "are"} left out, ` +
    `the first at byte ${firstDamagedByte}`;
}

function numberOf(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function numbersOf(value: unknown): Record<string, number> | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return Object.fromEntries(Object.entries(value).filter(([, number]) => numberOf(number) !== null));
}
