// SPDX-License-Identifier: Apache-2.0
/** Results of cells on disk: `results.jsonl`, a line a cell, and the same as `results.csv`. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import type { Estimate } from "../evaluate/metrics.ts";
import type { MemoryClass } from "../native/ledger.ts";
import { readTextIfThere } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";
import type { TrainSettings } from "../train/settings.ts";
import { type PartPlace, settingText } from "./grid.ts";

/** What fired in a sparse adapter over the data it was scored on. */
export interface CellActivity {
  /** Neurons that fired for a token, on average over layers and tokens. */
  readonly neuronsPerToken: number;
  /** Share of neurons that fired for no token. */
  readonly deadNeurons: number;
  /** Share of experts that no token was routed to. */
  readonly idleExperts: number;
  /** Tokens of the busiest expert over those of an expert on average, as a mean over layers. */
  readonly loadImbalance: number;
}

/** What a cell gave. */
export interface CellNumbers {
  readonly scores: Readonly<Record<string, Estimate>>;
  readonly lossFirst: number;
  /** Of the last step. */
  readonly lossLast: number;
  /** Mean over the evaluation data at the end; null without any. */
  readonly evalLoss: number | null;
  readonly steps: number;
  readonly tokens: number;
  readonly adapterParameters: number;
  readonly trainedParameters: number;
  /** Trained parameters over the model's. */
  readonly trainedShare: number;
  /** Host bytes at most: the sum of what each class of memory held at most. */
  readonly peakBytes: number;
  readonly bytes: Readonly<Partial<Record<MemoryClass, number>>>;
  /** Mean over layers of the neurons that at least one token of a step fired, in the last tenth of the steps. */
  readonly activeNeurons: number;
  /** Null for an adapter whose neurons do not fire by choice. */
  readonly activity: CellActivity | null;
  /** Of the steps alone. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
  /** Of the scoring. */
  readonly scoringSeconds: number;
}

/** A line of `results.jsonl`. */
export interface CellResult {
  readonly cell: string;
  readonly label: string;
  readonly parts: readonly PartPlace[];
  readonly settings: TrainSettings;
  /** What the run decided where its settings say nothing: all options of its adapter and optimizer. */
  readonly decided: JsonObject;
  readonly seed: number;
  readonly status: "done" | "failed";
  /** Null when it failed. */
  readonly numbers: CellNumbers | null;
  /** Why it failed; null when it did not. */
  readonly error: string | null;
}

const RESULTS = "results.jsonl";
const TABLE = "results.csv";
/** Names of both. */
export const RESULT_FILES: readonly string[] = [RESULTS, TABLE];

/** Results of a study's folder, in the order of the file; none when there is no such file. @throws {UserError} On a bad line */
export async function readResults(out: string): Promise<CellResult[]> {
  const path = join(out, RESULTS);
  const text = await readTextIfThere(path) ?? "";
  return text.split("\n").flatMap((line, i) => line === "" ? [] : [parseLine(line, `${path}:${i + 1}`)]);
}

function parseLine(line: string, place: string): CellResult {
  try {
    const value: unknown = JSON.parse(line);
    if (isJsonObject(value) && typeof value["cell"] === "string") return value as unknown as CellResult;
  } catch {
    // said below
  }
  throw new UserError(`${place} is no result of a cell: remove the line, and its cell runs again`);
}

/** Replaces both files: a killed writer leaves the old ones. */
export async function writeResults(out: string, results: readonly CellResult[]): Promise<void> {
  await writeTextAtomically(
    join(out, RESULTS),
    results.map((result) => `${JSON.stringify(result)}\n`).join(""),
  );
  await writeTextAtomically(join(out, TABLE), formatCsv(results));
}

const NUMBERS = [
  "lossFirst",
  "lossLast",
  "evalLoss",
  "tokens",
  "seconds",
  "tokensPerSecond",
  "scoringSeconds",
  "peakBytes",
  "adapterParameters",
  "trainedParameters",
  "trainedShare",
  "activeNeurons",
] as const;
const ACTIVITY = ["neuronsPerToken", "deadNeurons", "idleExperts", "loadImbalance"] as const;

/** Settings, and what the run decided where they say nothing; without what only the run's own decisions nest. */
function configOf({ settings, decided }: CellResult): Record<string, unknown> {
  const isPlain = (value: unknown) => typeof value !== "object" || Array.isArray(value);
  const plain = Object.entries(decided).filter(([, value]) => isPlain(value));
  const { seed: _seed, steps: _steps, ...config } = { ...Object.fromEntries(plain), ...settings };
  return config;
}

/** One row a cell: its configuration, then its numbers. RFC 4180, with a head. */
export function formatCsv(results: readonly CellResult[]): string {
  const configs = results.map(configOf);
  const configNames = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  const scoreNames = [
    ...new Set(results.flatMap(({ numbers }) => Object.keys(numbers?.scores ?? {}))),
  ];
  const scoreHead = scoreNames.flatMap((name) => [name, `${name}-low`, `${name}-high`]);
  const head = [
    ...["cell", "parts", "status", ...configNames, "seed", ...scoreHead, "steps", ...NUMBERS, ...ACTIVITY],
    "error",
  ];
  const rows = results.map(({ cell, parts, status, seed, numbers, error }, i) => [
    cell,
    parts.map(({ part }) => part).join("; "),
    status,
    ...configNames.map((name) => configs[i]?.[name]),
    seed,
    ...scoreNames.flatMap((name) => {
      const { mean, low, high } = numbers?.scores[name] ?? {};
      return [mean, low, high];
    }),
    numbers?.steps,
    ...NUMBERS.map((name) => numbers?.[name]),
    ...ACTIVITY.map((name) => numbers?.activity?.[name]),
    error,
  ]);
  return [head, ...rows].map((row) => `${row.map(csvField).join(",")}\r\n`).join("");
}

/**
 * A text that a spreadsheet would take for a formula, as file names and error messages can be, has an apostrophe before it,
 * by which spreadsheets know text; numbers stay as they are.
 */
function csvField(value: unknown): string {
  const plain = value === undefined || value === null ? "" : settingText(value);
  const isFormula = /^[=+\-@\t\r]/.test(plain) && Number.isNaN(Number(plain));
  const text = isFormula ? `'${plain}` : plain;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A result as JSON carries it, so that one that was read back equals one that was just made. */
export function asStored(result: CellResult): CellResult {
  return JSON.parse(JSON.stringify(result)) as CellResult;
}
