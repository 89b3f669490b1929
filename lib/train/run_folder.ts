// SPDX-License-Identifier: Apache-2.0
/** The run folder: `run.json`, `metrics.jsonl`, `checkpoints/` and `adapter/`. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { type Dataset, datasetHash } from "../data/dataset.ts";
import { asRoomError, writeTextAtomically } from "../tensor/atomic_file.ts";
import { type Run, runIdentity } from "./plan.ts";

/** Places within a run folder. */
export interface RunFolder {
  readonly out: string;
  readonly checkpoints: string;
  readonly adapter: string;
  readonly metrics: string;
}

/** Places of a run folder. */
export function runFolder(out: string): RunFolder {
  return {
    out,
    checkpoints: join(out, "checkpoints"),
    adapter: join(out, "adapter"),
    metrics: join(out, "metrics.jsonl"),
  };
}

/**
 * Makes the folder and writes `run.json`.
 *
 * @param resume True: the run in the folder goes on; a checkpoint's path: from there, in this folder or a new one
 * @throws {UserError} When a new run would overwrite an old one, or there is nothing to resume
 */
export async function openRunFolder(
  run: Run,
  data: Dataset,
  resume: boolean | string,
): Promise<RunFolder | null> {
  const { out } = run.settings;
  if (out === null) {
    if (resume === true) throw new UserError("There is nothing to resume: the run has no folder (out)");
    return null;
  }
  const path = join(out, "run.json");
  const exists = await Deno.stat(path).then(() => true, () => false);
  if (exists && resume === false) {
    throw new UserError(`${out} already holds a run: resume it, or choose another folder`);
  }
  if (!exists && resume === true) {
    throw new UserError(`There is no run in ${out} to resume: ${path} does not exist`);
  }
  await Deno.mkdir(out, { recursive: true });
  const { settings, base, method, memory } = run;
  const record = {
    method: method.name,
    identity: runIdentity(run),
    settings,
    base,
    data: { files: data.files, hash: datasetHash(data), ...counts(data) },
    predictedBytes: memory.bytes,
    adapterParameters: memory.adapterParameters,
    trainedParameters: memory.trainedParameters,
    versions: Deno.version,
  };
  await writeTextAtomically(path, JSON.stringify(record, null, 2) + "\n");
  return runFolder(out);
}

function counts({ report }: Dataset): Record<string, number> {
  const { rowsRead, rowsUsed, badRows, truncatedRows, cutTokens, tokens, targets } = report;
  return { rowsRead, rowsUsed, badRows: badRows.length, truncatedRows, cutTokens, tokens, targets };
}

/** The lines of `metrics.jsonl`, one a step. Disposing it closes the file. */
export interface MetricsLog extends AsyncDisposable {
  append(line: object): Promise<void>;
  /** Waits until all lines are on the disk. */
  sync(): Promise<void>;
}

/** Opens the log after `step`: lines of later steps, which a killed run wrote after its checkpoint, are taken back. */
export async function openMetrics(path: string, step: number): Promise<MetricsLog> {
  await writeTextAtomically(path, await linesUpTo(path, step));
  const file = await Deno.open(path, { append: true });
  const encoder = new TextEncoder();
  return {
    async append(line) {
      const bytes = encoder.encode(JSON.stringify(line) + "\n");
      try {
        for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
      } catch (error) {
        throw asRoomError(error, path, bytes.length);
      }
    },
    sync: () => file.sync(),
    [Symbol.asyncDispose]: () => {
      file.close();
      return Promise.resolve();
    },
  };
}

async function linesUpTo(path: string, step: number): Promise<string> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
  const kept = text.split("\n").filter((line) => line !== "" && stepOf(line) <= step);
  return kept.map((line) => `${line}\n`).join("");
}

/** The step of a line; a line cut short by a kill counts as later than any. */
function stepOf(line: string): number {
  try {
    const value: unknown = JSON.parse(line);
    const step = typeof value === "object" && value !== null && "step" in value ? value.step : null;
    return typeof step === "number" ? step : Infinity;
  } catch {
    return Infinity;
  }
}
