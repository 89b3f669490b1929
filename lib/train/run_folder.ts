// SPDX-License-Identifier: Apache-2.0
/** The run folder: `run.json`, `metrics.jsonl`, `checkpoints/` and `adapter/`. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { type Dataset, datasetHash, exampleCount } from "../data/dataset.ts";
import { formatWarning } from "../data/row_warnings.ts";
import { lockFolder, makeFolder } from "../files/folders.ts";
import { writeTextAtomically } from "../files/write.ts";
import { type Run, runIdentity } from "./plan.ts";

/** Places within a run folder, which is this process's alone until disposed. */
export interface RunFolder extends Disposable {
  readonly out: string;
  readonly checkpoints: string;
  readonly adapter: string;
  readonly metrics: string;
}

/** File of what was decided. */
export const RECORD = "run.json";

/**
 * Makes the folder and takes it, so that no other process trains in it at the same time.
 *
 * @param resume True: the run in the folder goes on; a checkpoint's path: from there, in this folder or a new one
 * @returns Null when the run has no folder
 * @throws {UserError} When a new run would overwrite an old one, there is nothing to resume, another process is training
 *   in the folder, or it cannot be written
 */
export async function openRunFolder(run: Run, resume: boolean | string): Promise<RunFolder | null> {
  const { out } = run.settings;
  if (out === null) {
    if (resume === true) throw new UserError("There is nothing to resume: the run has no folder (out)");
    return null;
  }
  const record = join(out, RECORD);
  if (resume === true && !(await exists(record))) {
    throw new UserError(`There is no run in ${out} to resume: ${record} does not exist`);
  }
  await makeFolder(out);
  const lock = await lockFolder(out);
  if (lock === null) {
    throw new UserError(
      `Cannot train in ${out}: another process is training in it; wait for it, or choose another folder`,
    );
  }
  if (resume === false && await exists(record)) {
    lock.close();
    throw new UserError(`${out} already holds a run: resume it, or choose another folder`);
  }
  return {
    out,
    checkpoints: join(out, "checkpoints"),
    adapter: join(out, "adapter"),
    metrics: join(out, "metrics.jsonl"),
    [Symbol.dispose]: () => lock.close(),
  };
}

/** Writes `run.json`: what was decided, about which model and data. */
export async function recordRun(folder: RunFolder, run: Run, data: Dataset): Promise<void> {
  const { settings, base, method, memory } = run;
  const record = {
    method: method.name,
    start: run.start?.folder ?? null,
    identity: runIdentity(run),
    settings,
    base,
    data: { files: data.files, hash: datasetHash(data), ...counts(data) },
    predictedBytes: memory.bytes,
    adapterParameters: memory.adapterParameters,
    trainedParameters: memory.trainedParameters,
    versions: Deno.version,
  };
  await writeTextAtomically(join(folder.out, RECORD), JSON.stringify(record, null, 2) + "\n");
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
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
