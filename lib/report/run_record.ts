// SPDX-License-Identifier: Apache-2.0
/** What a run folder says about its run: `run.json`, `metrics.jsonl` and `examples.json`, as far as they are written. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { readJsonIfThere, readTextIfThere } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";

/** A question with the model's answers before and after training. */
export interface Example {
  readonly prompt: string;
  /** Answers that the data accepts. */
  readonly expected: readonly string[];
  readonly before: string;
  /** Null while the run goes on. */
  readonly after: string | null;
}

/** One line of `metrics.jsonl`: numbers by name, and on some lines the load of experts and the memory by class. */
export interface MetricsLine {
  readonly step: number;
  readonly [name: string]: unknown;
}

/** All that a report shows. */
export interface RunRecord {
  readonly folder: string;
  /** `run.json`. */
  readonly run: JsonObject;
  /** In the order of steps. */
  readonly metrics: readonly MetricsLine[];
  readonly examples: readonly Example[];
}

const EXAMPLES = "examples.json";

/**
 * Reads a run folder, of a run that has ended or still goes on.
 *
 * @throws {UserError} When the folder holds no run
 */
export async function readRunRecord(folder: string): Promise<RunRecord> {
  const run = await readJsonIfThere(join(folder, "run.json"));
  if (!isJsonObject(run)) throw new UserError(`There is no run in ${folder}: it has no run.json of one`);
  return {
    folder,
    run,
    metrics: metricsLines(await readTextIfThere(join(folder, "metrics.jsonl")) ?? ""),
    examples: await readExamples(folder),
  };
}

/** The lines of a log; a last line that is being written is left for later. */
export function metricsLines(text: string): MetricsLine[] {
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  return whole.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as MetricsLine);
}

/** Examples of a run folder; none when there are none. */
export async function readExamples(folder: string): Promise<readonly Example[]> {
  const value = await readJsonIfThere(join(folder, EXAMPLES));
  return Array.isArray(value) ? value as Example[] : [];
}

/** Writes the examples of a run folder. */
export async function writeExamples(folder: string, examples: readonly Example[]): Promise<void> {
  await writeTextAtomically(join(folder, EXAMPLES), JSON.stringify(examples, null, 2) + "\n");
}

/** A metric over the steps, where it was measured. */
export function metricPoints(metrics: readonly MetricsLine[], name: string): { x: number; y: number }[] {
  return metrics.flatMap((line) => {
    const y = line[name];
    return typeof y === "number" ? [{ x: line.step, y }] : [];
  });
}

/** The newest line's value of what not every line has; null when no line has it. */
export function newestValue<T>(metrics: readonly MetricsLine[], name: string): T | null {
  return (metrics.findLast((line) => line[name] !== undefined && line[name] !== null)?.[name] ?? null) as
    | T
    | null;
}
