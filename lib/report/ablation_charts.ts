// SPDX-License-Identifier: Apache-2.0
/** Charts of a study: score, memory and time against what its grids go through. */
import { type CellResult, readResults } from "../study/results.ts";
import {
  axesOf,
  axisValue,
  groupBySeed,
  groupsOf,
  partsOf,
  type SeedGroup,
  seriesOf,
  SIZE,
} from "../study/summary.ts";
import { settingText } from "../study/grid.ts";
import { SETTINGS } from "../train/setting_table.ts";
import type { Chart } from "./chart.ts";
import { byteUnit, formatBytes, formatSeconds } from "./format.ts";
import {
  intervalChart,
  type IntervalChartOptions,
  type IntervalPoint,
  type IntervalSeries,
} from "./interval_chart.ts";

/** What stands at an axis. */
function axisLabel(axis: string): string {
  return axis === SIZE ? "trained parameters" : SETTINGS.find(({ name }) => name === axis)?.axis ?? axis;
}

/** A value that can be drawn for a group; null where the group has none. */
interface Quantity {
  readonly name: string;
  readonly options: Omit<IntervalChartOptions, "format"> & { readonly format: (value: number) => string };
  /** What the ticks of its axis are round in, given its largest value. Default 1. */
  readonly unitOf?: (most: number) => number;
  pointOf(group: SeedGroup): Omit<IntervalPoint, "x"> | null;
}

const share = (value: number) => `${Math.round(100 * value)} %`;

/** A score with its interval. */
function scoreQuantity(name: string): Quantity {
  return {
    name: name.replaceAll("-", " "),
    options: { domain: [0, 1], format: share },
    pointOf({ scores }) {
      const estimate = scores[name];
      return estimate ? { y: estimate.mean, low: estimate.low, high: estimate.high } : null;
    },
  };
}

const LOSS: Quantity = {
  name: "loss of the last step",
  options: { format: (loss) => loss.toPrecision(3) },
  pointOf: ({ means }) => means && { y: means.lossLast },
};

const COSTS: readonly Quantity[] = [
  {
    name: "peak memory",
    options: { format: formatBytes },
    unitOf: byteUnit,
    pointOf: ({ means }) => means && { y: means.peakBytes },
  },
  {
    name: "training time",
    options: { format: formatSeconds },
    pointOf: ({ means }) => means && { y: means.seconds },
  },
];

/** A chart of a study with what it shows. */
export interface StudyChart {
  readonly part: string;
  /** A setting, or `trainedParameters`. */
  readonly axis: string;
  readonly title: string;
  readonly chart: Chart;
}

/** What is drawn against what. */
export interface PlotChoice {
  /** A setting's name, or `trainedParameters`. */
  readonly x: string;
  /** A score (`exact-match`), or a number: `loss`, `memory`, `time`. Default: the study's first score, else the loss. */
  readonly y?: string;
  /** Setting that lines are told apart by. Default: the method and what else is gone through. */
  readonly series?: string;
  /** Part of the study. Default: all of it. */
  readonly part?: string;
}

function firstScore(groups: readonly SeedGroup[]): Quantity {
  const name = groups.flatMap(({ scores }) => Object.keys(scores))[0];
  return name === undefined ? LOSS : scoreQuantity(name);
}

function quantityOf(y: PlotChoice["y"], groups: readonly SeedGroup[]): Quantity {
  if (y === undefined) return firstScore(groups);
  if (y === "loss") return LOSS;
  if (y === "memory") return COSTS[0] as Quantity;
  return y === "time" ? COSTS[1] as Quantity : scoreQuantity(y);
}

function draw(
  groups: readonly SeedGroup[],
  axis: string,
  quantity: Quantity,
  nameOf: (group: SeedGroup) => string,
): Chart {
  const series = new Map<string, IntervalPoint[]>();
  for (const group of groups) {
    const point = quantity.pointOf(group);
    const value = axisValue(group, axis);
    if (point === null || value === undefined) continue;
    const x = typeof value === "number" ? value : settingText(value);
    const name = nameOf(group);
    series.set(name, [...series.get(name) ?? [], { x, ...point }]);
  }
  const { options, unitOf = () => 1 } = quantity;
  const points = [...series.values()].flat();
  const unit = unitOf(Math.max(0, ...points.map(({ y }) => y)));
  // Scores are shares, or correlations, which reach as far below 0.
  const isNegative = points.some(({ y, low = y }) => low < 0);
  const lines = [...series].map(([name, points]): IntervalSeries => ({
    name,
    points: points.map(({ x, ...values }) => ({ x, ...scaledBy(values, 1 / unit) })),
  }));
  const labels = { x: axisLabel(axis), y: quantity.name };
  return intervalChart(lines, labels, {
    ...options,
    ...(options.domain && isNegative && { domain: [-1, 1] as const }),
    format: (value) => options.format(value * unit),
  });
}

/** A mean with its interval, if it has one, in another unit. */
function scaledBy(values: Omit<IntervalPoint, "x">, factor: number): Omit<IntervalPoint, "x"> {
  const entries = Object.entries(values).map(([name, value]) => [name, value * factor]);
  return Object.fromEntries(entries) as Omit<IntervalPoint, "x">;
}

/** Every chart of a study: for each part and each of its axes the score, then memory and time. */
export function studyCharts(results: readonly CellResult[]): StudyChart[] {
  const all = groupBySeed(results);
  return partsOf(all).flatMap((part) => {
    const groups = groupsOf(all, part);
    return axesOf(groups, part).flatMap((axis) =>
      [firstScore(groups), ...COSTS].map((quantity) => ({
        part,
        axis,
        title: `${quantity.name} by ${axisLabel(axis)}`,
        chart: draw(groups, axis, quantity, (group) => seriesOf(group, groups, part, axis)),
      }))
    );
  });
}

/**
 * One chart of a study, from its folder or from results at hand: `plotStudy("runs/k", { x: "topK", series: "experts" })`.
 *
 * @throws {UserError} When the folder's results cannot be read
 */
export async function plotStudy(study: string | readonly CellResult[], choice: PlotChoice): Promise<Chart> {
  const all = groupBySeed(typeof study === "string" ? await readResults(study) : study);
  const part = choice.part ?? partsOf(all)[0] ?? "";
  const groups = choice.part === undefined ? all : groupsOf(all, choice.part);
  const { series } = choice;
  const nameOf = (group: SeedGroup) =>
    series === undefined
      ? seriesOf(group, groups, part, choice.x)
      : `${series} ${settingText(axisValue(group, series))}`;
  return draw(groups, choice.x, quantityOf(choice.y, groups), nameOf);
}
