// SPDX-License-Identifier: Apache-2.0
/** Cells that differ in their seed alone, put together: means, and intervals over the seeds. Pure. */
import { meanOverSeeds } from "../evaluate/seeds.ts";
import type { Estimate } from "../evaluate/metrics.ts";
import { SETTINGS } from "../train/setting_table.ts";
import { type PartPlace, settingText } from "./grid.ts";
import type { CellNumbers, CellResult } from "./results.ts";

/** Numbers of a group that are means over its seeds. */
const MEANS = [
  "lossLast",
  "seconds",
  "tokensPerSecond",
  "peakBytes",
  "trainedParameters",
  "trainedShare",
  "activeNeurons",
] as const;

type MeanName = (typeof MEANS)[number];

/** Cells of one configuration. */
export interface SeedGroup {
  /** What the grid set, without the seed. */
  readonly label: string;
  readonly parts: readonly PartPlace[];
  /** Settings, and what the run decided where they say nothing. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly seeds: readonly number[];
  readonly failed: number;
  /** Means over seeds with Student's interval; one seed has Wilson's, over its questions. */
  readonly scores: Readonly<Record<string, Estimate>>;
  /** Means over the seeds that were not failures; null when all were. */
  readonly means: Readonly<Record<MeanName, number>> | null;
}

function withoutSeed(label: string): string {
  return label.split(" ").filter((word) => !word.startsWith("seed=")).join(" ");
}

/** Groups in the order of their first cells. */
export function groupBySeed(results: readonly CellResult[]): SeedGroup[] {
  const groups = new Map<string, CellResult[]>();
  for (const result of results) {
    const { seed: _, ...settings } = result.settings;
    const key = JSON.stringify([settings, result.parts]);
    groups.set(key, [...groups.get(key) ?? [], result]);
  }
  return [...groups.values()].map(groupOf);
}

function groupOf(results: readonly CellResult[]): SeedGroup {
  const first = results[0] as CellResult;
  const { seed: _, ...settings } = first.settings;
  const numbers = results.flatMap((result) => result.numbers ?? []);
  const names = Object.keys(numbers[0]?.scores ?? {});
  const scores = names.map((name) =>
    [name, meanOverSeeds(numbers.flatMap((cell) => cell.scores[name] ?? []))] as const
  );
  return {
    label: withoutSeed(first.label),
    parts: first.parts,
    settings: { ...first.decided, ...settings },
    seeds: results.map(({ seed }) => seed),
    failed: results.length - numbers.length,
    scores: Object.fromEntries(scores),
    means: numbers.length === 0 ? null : meansOf(numbers),
  };
}

function meansOf(numbers: readonly CellNumbers[]): Record<MeanName, number> {
  const mean = (name: MeanName) => numbers.reduce((sum, cell) => sum + cell[name], 0) / numbers.length;
  return Object.fromEntries(MEANS.map((name) => [name, mean(name)])) as Record<MeanName, number>;
}

/** Stands for the number of trained parameters where settings are named. */
export const SIZE = "trainedParameters";

/** Settings that make an adapter larger or smaller, and what goes with them: no lines of their own in a chart by size. */
const SIZE_SETTINGS = SETTINGS.filter(({ size }) => size).map(({ name }) => name);

/** Sizes are worth a chart when they differ by this factor: routers alone make less of a difference. */
const SIZES_FROM = 1.5;

/** What a group has on an axis: a setting, or its size. */
export function axisValue(group: SeedGroup, axis: string): unknown {
  return axis === SIZE ? group.means?.trainedParameters : group.settings[axis];
}

/** Parts of a study, in the order in which they first occur. */
export function partsOf(groups: readonly SeedGroup[]): string[] {
  return [...new Set(groups.flatMap(({ parts }) => parts.map(({ part }) => part)))];
}

/** Groups of a part. */
export function groupsOf(groups: readonly SeedGroup[], part: string): SeedGroup[] {
  return groups.filter(({ parts }) => parts.some((place) => place.part === part));
}

/** Settings that the grids of a part go through. */
function variedIn(groups: readonly SeedGroup[], part: string): string[] {
  const places = groups.flatMap(({ parts }) => parts.filter((place) => place.part === part));
  return [...new Set(places.flatMap(({ varied }) => varied))].filter((name) => name !== "seed");
}

/** What the groups of a part differ in and can be drawn against: settings gone through, then the size. */
export function axesOf(groups: readonly SeedGroup[], part: string): string[] {
  const differs = (axis: string) => {
    const values = groups.map((group) => axisValue(group, axis)).filter((value) => value !== undefined);
    return new Set(values.map((value) => JSON.stringify(value))).size > 1;
  };
  const several = differs("method");
  // Several methods share no size setting: there, the size is the axis.
  const settings = variedIn(groups, part).filter((name) =>
    name !== "method" && differs(name) && !(several && SIZE_SETTINGS.includes(name))
  );
  const sizes = groups.flatMap(({ means }) => means?.trainedParameters ?? []);
  return Math.max(...sizes) >= SIZES_FROM * Math.min(...sizes) ? [...settings, SIZE] : settings;
}

/** Name of a group's line when its part is drawn against an axis. */
export function seriesOf(group: SeedGroup, groups: readonly SeedGroup[], part: string, axis: string): string {
  const named = group.parts.find((place) => place.part === part)?.series;
  if (named) return named;
  const method = settingText(group.settings["method"]);
  const others = variedIn(groups, part).filter((name) =>
    name !== axis && name !== "method" && !(axis === SIZE && SIZE_SETTINGS.includes(name)) &&
    group.settings[name] !== undefined
  );
  return [method, ...others.map((name) => `${name} ${settingText(group.settings[name])}`)].join(", ");
}
