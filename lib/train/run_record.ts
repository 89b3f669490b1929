// SPDX-License-Identifier: Apache-2.0
/** `run.json`: what was decided, about which model and data, and what changed when the run went on. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { isJsonObject, type Json, jsonDifferences, type JsonObject } from "../core/json.ts";
import { camelCase } from "../core/options.ts";
import { type Dataset, datasetHash, exampleCount } from "../data/dataset.ts";
import type { Evaluation } from "../evaluate/task_scores.ts";
import { formatWarning } from "../data/row_warnings.ts";
import { parseJson, readTextIfThere } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";
import type { PredictedMemory } from "./forecast.ts";
import { type Run, runIdentity } from "./plan.ts";
import { SETTINGS } from "./setting_table.ts";

/** File of what was decided. */
export const RECORD = "run.json";

/** The settings of a run that changed when it went on. */
export interface SettingChange {
  /** Steps that had been taken. */
  readonly step: number;
  /** By name: what it was, and what it is from the next step on. Null stands for a setting left out. */
  readonly changed: Readonly<Record<string, readonly [before: Json, after: Json]>>;
}

/** What {@linkcode recordRun} writes beside what the run itself says. */
export interface RecordOptions {
  /** Steps that were taken before; 0 for a new run, which has no history. */
  readonly step: number;
  /** What the run was asked for, by names of flags, so that `--resume` needs none of them. */
  readonly flags: JsonObject | null;
  /** Folder of the run that it goes on from, where that is another one. */
  readonly from: string | null;
  /** What was predicted of its memory; null when nobody did. */
  readonly predicted: PredictedMemory | null;
}

/** What was asked for, as `run.json` has it. */
interface RecordedFlags {
  readonly flags: JsonObject;
  /** Folder that relative paths among them are seen from. */
  readonly cwd: string;
}

/** Writes `run.json`. */
export async function recordRun(
  out: string,
  run: Run,
  data: Dataset,
  { step, flags, from, predicted }: RecordOptions,
): Promise<void> {
  const { base, method } = run;
  const own = await readRecord(out);
  const earlier = step === 0 ? null : own ?? (from === null ? null : await readRecord(from));
  const asked = flags === null ? askedBefore(own) : { flags, cwd: Deno.cwd() };
  const record: JsonObject = {
    method: method.name,
    start: run.start?.folder ?? null,
    ...(asked as unknown as JsonObject),
    identity: runIdentity(run),
    settings: run.settings as unknown as JsonObject,
    history: historyOf(earlier, run, step, asked?.flags ?? null) as unknown as Json,
    base: { ...base },
    data: { files: data.files, hash: datasetHash(data), ...counts(data) } as JsonObject,
    ...(predicted && {
      predictedBytes: predicted.bytes as JsonObject,
      predictedStartBytes: predicted.startBytes as JsonObject,
      adapterParameters: predicted.adapterParameters,
      trainedParameters: predicted.trainedParameters,
    }),
    versions: { ...Deno.version },
  };
  await writeRecord(out, record);
}

async function writeRecord(out: string, record: JsonObject): Promise<void> {
  await writeTextAtomically(join(out, RECORD), JSON.stringify(record, null, 2) + "\n");
}

/** Adds what the run's end was scored with. */
export async function recordEvaluation(out: string, evaluation: Evaluation): Promise<void> {
  await writeRecord(out, { ...await readRecord(out), evaluation: evaluation as unknown as Json });
}

/** What is written down of a run; null where there is nothing. @throws {UserError} When it is no JSON, with the way out */
export async function readRecord(out: string): Promise<JsonObject | null> {
  const path = join(out, RECORD);
  const text = await readTextIfThere(path);
  if (text === null) return null;
  try {
    const value = parseJson(path, text);
    return isJsonObject(value) ? value : null;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const wayOut = "remove the file, and resume with all flags that the run was started with";
    throw new UserError(`${error.message}; ${wayOut}`, { cause: error });
  }
}

/** What a run was asked for; null for runs of versions that did not write it down, and of loops of one's own. */
export function askedBefore(record: JsonObject | null): RecordedFlags | null {
  const { flags, cwd } = record ?? {};
  return isJsonObject(flags) && typeof cwd === "string" ? { flags, cwd } : null;
}

/** Earlier changes, as far as they are of this history, and what changes now. */
function historyOf(
  earlier: JsonObject | null,
  run: Run,
  step: number,
  flags: JsonObject | null,
): SettingChange[] {
  if (earlier === null) return [];
  const known = (Array.isArray(earlier.history) ? earlier.history : []) as unknown as SettingChange[];
  const changed = Object.fromEntries(
    jsonDifferences(
      changeable(earlier.identity, earlier.settings, askedBefore(earlier)?.flags),
      changeable(runIdentity(run), run.settings as unknown as JsonObject, flags),
    ).map(({ path, before, after }) => [path, [before ?? null, after ?? null] as const]),
  );
  const before = known.filter((change) => change.step <= step);
  return Object.keys(changed).length === 0 ? before : [...before, { step, changed }];
}

/** Whether nothing that was decided tells of a flag, so that its change is told as it was asked for. */
function isAsked(flag: string): boolean {
  const setting = SETTINGS.find((known) => camelCase(known.flag) === flag);
  return setting === undefined || setting.mayChange === "asked";
}

/** What may change of an adapter. */
const OF_ADAPTERS = SETTINGS.filter(({ owner, mayChange }) => owner === "adapter" && mayChange === true)
  .map(({ option }) => option);

/** What may change of a run, by name. */
function changeable(
  identity: Json | undefined,
  settings: Json | undefined,
  flags: JsonObject | null = null,
): JsonObject {
  const [decided, sizes] = [identity, settings].map((part) => isJsonObject(part) ? part : {}) as [
    JsonObject,
    JsonObject,
  ];
  const adapter = isJsonObject(decided.adapter) ? decided.adapter : {};
  const { out: _, format: __, seed: ___, ...kept } = sizes;
  return {
    ...kept,
    totalSteps: decided.steps ?? null,
    placement: decided.placement ?? "host",
    halves: decided.halves ?? 1,
    ...Object.fromEntries(OF_ADAPTERS.map((name) => [name, adapter[name] ?? null])),
    ...Object.fromEntries(Object.entries(flags ?? {}).filter(([name]) => isAsked(name))),
  };
}

function counts(data: Dataset): Record<string, unknown> {
  const { rowsRead, rowsUsed, badRows, truncatedRows, cutTokens, tokens, targets, warnings } = data.report;
  return {
    rowsRead,
    rowsUsed,
    examples: exampleCount(data),
    badRows: badRows.length,
    truncatedRows,
    cutTokens,
    tokens,
    targets,
    warnings: warnings.map(formatWarning),
  };
}
