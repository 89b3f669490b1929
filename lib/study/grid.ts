// SPDX-License-Identifier: Apache-2.0
/** From a base configuration and grids to the cells of a study: every combination, once. Pure. */
import { throwIfAny } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import { didYouMean } from "../core/suggestion.ts";
import { DEFAULT_METHOD, METHOD_NAMES } from "../methods/methods.ts";
import { methodsOf, SETTING_NAMES } from "../train/setting_table.ts";
import type { TrainSettings } from "../train/settings.ts";

/** Values of settings to go through, a list each; one value is set in every cell. Several settings multiply. */
export type Grid =
  & { readonly [Name in keyof TrainSettings]?: TrainSettings[Name] | readonly TrainSettings[Name][] }
  & {
    /** Name of this part of the study, for its charts. Default "grid". */
    readonly part?: string;
    /** Name of these cells in the charts of their part. Default: their method and what the grid goes through. */
    readonly series?: string;
  };

/** Where a cell stands in a study. */
export interface PartPlace {
  readonly part: string;
  readonly series: string | null;
  /** Names of the settings that the part's grid goes through, in its order. */
  readonly varied: readonly string[];
}

/** One cell: a run's settings. */
export interface Cell {
  /** `method=lora rank=8 seed=1`: what the grid set. */
  readonly label: string;
  /** Parts of the study that the cell belongs to. */
  readonly parts: readonly PartPlace[];
  readonly settings: TrainSettings;
}

type Values = Readonly<Record<string, unknown>>;

/** The name of a part that has none. */
const ONLY_PART = "grid";

/** A list is gone through; what is itself a list stands in a list of lists: `target: [["q", "v"], "all"]`. */
function valuesOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** Cells of a study: months of work, and seconds to plan. */
const MOST_CELLS = 5000;

/** Every combination of the grid's values, the first setting changing slowest. */
function combinations(grid: Values): Values[] {
  return Object.entries(grid).reduce<Values[]>(
    (cells, [name, value]) =>
      cells.flatMap((cell) => valuesOf(value).map((item) => ({ ...cell, [name]: item }))),
    [{}],
  );
}

/**
 * Base settings that the cell's method has no use for are left out: methods have sizes of their own. So is a number of steps
 * where the grid goes by epochs, which it would win over.
 */
function merge(base: Values, chosen: Values): TrainSettings {
  const method = (chosen.method ?? base.method ?? DEFAULT_METHOD) as string;
  const byEpochs = chosen.epochs !== undefined && chosen.steps === undefined;
  const applies = ([name]: readonly [string, unknown]) =>
    (methodsOf(name)?.includes(method) ?? true) && !(name === "steps" && byEpochs);
  return { ...Object.fromEntries(Object.entries(base).filter(applies)), ...chosen };
}

/** A value as a label shows it. */
export function settingText(value: unknown): string {
  if (Array.isArray(value)) return value.join("+");
  if (!isJsonObject(value)) return String(value);
  const isFlat = Object.values(value).every((item) => typeof item === "number");
  return isFlat
    ? Object.entries(value).map(([key, item]) => `${key}=${item}`).join("+")
    : JSON.stringify(value);
}

function labelOf(chosen: Values): string {
  const words = Object.entries(chosen).map(([name, value]) => `${name}=${settingText(value)}`);
  return words.length === 0 ? "base" : words.join(" ");
}

/** What is wrong with the settings' names: one sentence each. */
function nameProblems(settings: Values, where: string): string[] {
  return Object.keys(settings).filter((name) => !SETTING_NAMES.includes(name))
    .map((name) => `${where}: there is no setting "${name}"${didYouMean(name, SETTING_NAMES)}`);
}

function gridProblems(grid: Values, base: Values, where: string): string[] {
  const problems = nameProblems(grid, where);
  for (const [name, value] of Object.entries(grid)) {
    if (value === undefined) problems.push(`${where}: ${name} is undefined; leave it out`);
    if (valuesOf(value).length === 0) problems.push(`${where}: ${name} has no values to go through`);
    const methods = methodsOf(name);
    const chosen = valuesOf(grid.method ?? base.method ?? DEFAULT_METHOD) as string[];
    for (const method of chosen.filter((method) => METHOD_NAMES.includes(method))) {
      if (methods === null || methods.includes(method)) continue;
      problems.push(
        `${where}: ${name} does not apply to method ${method}, only to ${methods.join(" and ")}; ` +
          `give ${method} a grid of its own`,
      );
    }
  }
  return problems;
}

/**
 * All cells, in the order of the grids.
 *
 * @throws {ValidationError} Listing every name, value and method that does not go
 */
export function expandGrid(base: TrainSettings, grid: Grid | readonly Grid[]): Cell[] {
  const grids = (Array.isArray(grid) ? grid : [grid]) as readonly Grid[];
  const problems = nameProblems(base as Values, "base");
  const cells: Cell[] = [];
  for (const [i, { part = ONLY_PART, series = null, ...values }] of grids.entries()) {
    const where = grids.length === 1 ? part : `grid ${i + 1} (${part})`;
    const found = gridProblems(values, base as Values, where);
    problems.push(...found);
    if (found.length > 0) continue;
    const count = Object.values(values).reduce<number>(
      (product, value) => product * valuesOf(value).length,
      1,
    );
    if (cells.length + count > MOST_CELLS) {
      problems.push(`${where}: it would be ${cells.length + count} cells, at most ${MOST_CELLS} are planned`);
      continue;
    }
    const varied = Object.entries(values).filter(([, value]) => Array.isArray(value)).map(([name]) => name);
    for (const chosen of combinations(values)) {
      cells.push({
        label: labelOf(chosen),
        settings: merge(base as Values, chosen),
        parts: [{ part, series, varied }],
      });
    }
  }
  if (grids.length === 0) problems.push("there is no grid: nothing to run");
  throwIfAny("The grid", problems);
  return cells;
}

/** Two cells that turn out to be the same run: it stands once and belongs to the parts of both. */
export function joinCells(a: Cell, b: Cell): Cell {
  const parts = [...a.parts, ...b.parts.filter(({ part }) => a.parts.every((known) => known.part !== part))];
  return { ...a, parts };
}
