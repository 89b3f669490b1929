// SPDX-License-Identifier: Apache-2.0
/** Grids as people write them: `--grid seq-len=256,1024` on a command line, objects in a config file. */
import { listed } from "../../core/listed.ts";
import { isJsonObject } from "../../core/json.ts";
import { isPattern, readValue } from "../../core/option_values.ts";
import { camelCase } from "../../core/options.ts";
import { nearestName } from "../../core/suggestion.ts";
import { DEFAULT_METHOD } from "../../methods/methods.ts";
import type { Grid } from "../../study/grid.ts";
import { settingName } from "./settings.ts";
import type { Flag, FlagValues } from "./flags.ts";
import { TRAIN_FLAGS } from "./train.ts";

/** Flags of `train` that a study takes, and that its grid can go through. */
export const GRID_FLAGS: readonly Flag[] = TRAIN_FLAGS.filter((flag) => !isOfKeeping(flag));

/** Whether a flag says where and how a run is kept, not what it is. */
function isOfKeeping({ ofCall, ofKeeping }: Flag): boolean {
  return Boolean(ofCall || ofKeeping);
}

/** Words of a grid that are no flags. */
const WORDS = ["part", "series"];

type Values = Record<string, unknown>;

function flagOf(name: string, where: string, problems: string[]): Flag | null {
  const found = GRID_FLAGS.find((flag) =>
    [flag.name, camelCase(flag.name), settingName(flag.name)].includes(name)
  );
  if (found) return found;
  const hint = nearestName(name, [...GRID_FLAGS.map((flag) => flag.name), ...WORDS]);
  const guess = hint === null ? "" : `; did you mean ${hint}?`;
  const isKept = TRAIN_FLAGS.some((flag) => flag.name === name && isOfKeeping(flag));
  const reason = isKept ? "says nothing of a cell" : "is no flag of train";
  problems.push(`${where}: "${name}" ${reason}${guess}`);
  return null;
}

/** A value of a command line: switches are written true or false, several texts are joined by plus signs. */
function rawValue(flag: Flag, text: string): unknown {
  if (flag.kind === "switch") return text === "true" ? true : text === "false" ? false : text;
  const isList = ["texts", "integers", "indices", "numbers", "pairs"].includes(flag.kind) &&
    !holdsPattern(flag, text);
  return isList ? text.split("+") : text;
}

/** A regular expression is one value, whatever signs are in it; several are written as JSON. */
function holdsPattern(flag: Flag, text: string): boolean {
  return (flag.names !== undefined || flag.kind === "numbers") && isPattern(text.replaceAll("=", ""));
}

/** `seq-len=256,1024`, into the grid. @mutates grid, problems */
function readText(text: string, grid: Values, problems: string[]): void {
  const [, name = "", list = ""] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  const where = `--grid ${text}`;
  if (name === "" || list === "") {
    problems.push(`${where}: expected KEY=value,value`);
    return;
  }
  const flag = flagOf(name, where, problems);
  if (flag === null) return;
  const key = settingName(flag.name);
  if (key in grid) problems.push(`${where}: ${flag.name} is given twice`);
  const items = holdsPattern(flag, list) ? [list] : list.split(",");
  grid[key] = items.map((item) => readValue(flag, where, rawValue(flag, item), problems));
}

/** An object of a config file. @mutates problems */
function readObject(object: Readonly<Record<string, unknown>>, where: string, problems: string[]): Values {
  const grid: Values = {};
  for (const [name, raw] of Object.entries(object)) {
    if (WORDS.includes(name)) {
      if (typeof raw !== "string") {
        problems.push(`${where}: "${name}" is ${JSON.stringify(raw)}, expected text`);
      }
      grid[name] = raw;
      continue;
    }
    const flag = flagOf(name, where, problems);
    if (flag === null) continue;
    const read = (item: unknown) => readValue(flag, `${where}: "${name}"`, item, problems);
    grid[settingName(flag.name)] = Array.isArray(raw) ? raw.map(read) : read(raw);
  }
  return grid;
}

function readSeeds(texts: readonly string[], problems: string[]): unknown[] {
  const flag = GRID_FLAGS.find(({ name }) => name === "seed") as Flag;
  const seeds = texts.flatMap((text) => text.replace(/^\[|\]$/g, "").split(","));
  return seeds.map((seed) => readValue(flag, "--seeds", seed, problems));
}

/**
 * The grids that texts say: those of a command line are one grid and multiply, each JSON object is a grid of its own. Seeds
 * multiply with every grid that has none of its own. No grid at all is one cell a seed.
 *
 * @mutates problems
 */
export function readGrids(
  texts: readonly string[],
  seeds: readonly string[],
  problems: string[],
): Grid[] {
  const multiplied: Values = {};
  const grids: Values[] = [];
  texts.forEach((text, i) => {
    if (!text.startsWith("{") && !text.startsWith("[")) return readText(text, multiplied, problems);
    const where = `grid ${i + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = null;
    }
    if (isJsonObject(value as never)) grids.push(readObject(value as Values, where, problems));
    else problems.push(`${where} is ${text}, expected an object such as {"seq-len": [256, 1024]}`);
  });
  if (Object.keys(multiplied).length > 0 || grids.length === 0) grids.push(multiplied);
  const values = readSeeds(seeds, problems);
  if (values.length > 0 && grids.every((grid) => "seed" in grid)) {
    problems.push("--seeds and the grid's own seed exclude each other: keep one");
  }
  return grids.map((grid) =>
    values.length > 0 && !("seed" in grid) ? { ...grid, seed: values } : grid
  ) as Grid[];
}

/**
 * Flags that no cell heeds, because every grid has values of its own, or no method of theirs has a use for them: a sentence
 * each.
 *
 * @param values What was given, by flag name
 * @param grids As {@linkcode readGrids} has them
 */
export function uselessFlags(values: FlagValues, grids: readonly Grid[]): string[] {
  if (values.seed !== undefined && values.seeds !== undefined) {
    return ["--seed and --seeds exclude each other: keep one"];
  }
  const methods = new Set(
    grids.flatMap(({ method = values.method ?? DEFAULT_METHOD }) => method as string | readonly string[]),
  );
  return GRID_FLAGS.filter(({ name }) => values[name] !== undefined).flatMap((flag) => {
    if (grids.every((grid) => settingName(flag.name) in grid)) {
      return [`--${flag.name} and the grid's own ${flag.name} exclude each other: keep one`];
    }
    if (!flag.methods || flag.methods.some((method) => methods.has(method))) return [];
    return [
      `--${flag.name} does not apply to --method ${[...methods].join(" or ")}, only to ${
        listed(flag.methods)
      }`,
    ];
  });
}
