// SPDX-License-Identifier: Apache-2.0
/** What a run folder says about its run: `run.json`, `metrics.jsonl` and `examples.json`, as far as they are written. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { readJsonIfThere } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";
import { readMetricsLine } from "../train/metrics_log.ts";
import { type ReadMetrics, readNewMetrics } from "./metrics_index.ts";

/** A question with the model's answers before and after training. */
export interface Example {
  readonly prompt: string;
  /** Answers that the data accepts. */
  readonly expected: readonly string[];
  readonly before: string;
  /** Null while the run goes on. */
  readonly after: string | null;
}

/** All that a report shows. */
export interface RunRecord {
  readonly folder: string;
  /** `run.json`. */
  readonly run: JsonObject;
  /** Of `metrics.jsonl`, and how far it was read. */
  readonly metrics: ReadMetrics;
  /** (L,N): tokens routed to each expert of each layer at the newest reading; null where none is known. */
  readonly expertLoad: readonly (readonly number[])[] | null;
  readonly examples: readonly Example[];
}

const EXAMPLES = "examples.json";

/**
 * Reads a run folder, of a run that has ended or still goes on.
 *
 * @param before What was read before: then only what is new is read     @mutates before
 * @throws {UserError} When the folder holds no run
 */
export async function readRunRecord(folder: string, before: RunRecord | null = null): Promise<RunRecord> {
  const run = await readRun(folder);
  const metrics = await readNewMetrics(folder, before?.metrics ?? null);
  return {
    folder,
    run,
    metrics,
    expertLoad: await readExpertLoad(folder, metrics),
    examples: await readExamples(folder),
  };
}

/** `run.json`. @throws {UserError} When the folder holds no run */
export async function readRun(folder: string): Promise<JsonObject> {
  const run = await readJsonIfThere(join(folder, "run.json"));
  if (!isJsonObject(run)) throw new UserError(`There is no run in ${folder}: it has no run.json of one`);
  return run;
}

async function readExpertLoad(folder: string, { summary }: ReadMetrics): Promise<RunRecord["expertLoad"]> {
  if (summary.expertLoadAt === null) return null;
  const [start, end] = summary.expertLoadAt;
  const load = (await readMetricsLine(join(folder, "metrics.jsonl"), start, end))?.expertLoad;
  const isLoad = Array.isArray(load) && load.every((layer) => Array.isArray(layer));
  return isLoad ? load : null;
}

/** Examples of a run folder; none when there are none. @throws {UserError} When the file holds something else */
export async function readExamples(folder: string): Promise<readonly Example[]> {
  const path = join(folder, EXAMPLES);
  const value = await readJsonIfThere(path) ?? [];
  if (Array.isArray(value) && value.every(isExample)) return value;
  throw new UserError(`${path} holds no answers of a run: remove it, and the report does without them`);
}

function isExample(value: unknown): value is Example {
  if (!isJsonObject(value)) return false;
  const { prompt, expected, before, after } = value;
  const areTexts = Array.isArray(expected) &&
    [prompt, before, ...expected].every((text) => typeof text === "string");
  return areTexts && (after === null || typeof after === "string");
}

/** Writes the examples of a run folder. */
export async function writeExamples(folder: string, examples: readonly Example[]): Promise<void> {
  await writeTextAtomically(join(folder, EXAMPLES), JSON.stringify(examples, null, 2) + "\n");
}
