// SPDX-License-Identifier: Apache-2.0
/** The run folder: `run.json`, `metrics.jsonl`, `checkpoints/` and `adapter/`. */
import { basename, dirname, join } from "node:path";
import { ADAPTER_CONFIG, ADAPTER_TENSORS } from "../adapters/files/adapter_files.ts";
import { UserError } from "../core/errors.ts";
import { leadsTo, lockFolder, makeFolder } from "../files/folders.ts";
import { describeLeftOvers, joinLeftOvers, type LeftOvers, removeLeftOvers } from "../files/leftovers.ts";
import { listFolderIfThere, statIfThere } from "../files/read.ts";
import { listCheckpoints, removeUnfinished } from "./checkpoint_folder.ts";
import type { Run } from "./plan.ts";
import { RECORD } from "./run_record.ts";

/** Places within a run folder, which is this process's alone until disposed. */
export interface RunFolder extends Disposable {
  readonly out: string;
  readonly checkpoints: string;
  readonly adapter: string;
  readonly metrics: string;
  /** @throws {UserError} When the folder is no longer there, or is another: what is written now would be part of no run */
  assertThere(): Promise<void>;
}

/** Choices of {@linkcode openRunFolder}. */
export interface RunFolderOptions {
  /** Called with what was cleaned up, one sentence each. Default: none. */
  readonly onWarning?: (warning: string) => void;
}

/**
 * Makes the folder and takes it, so that no other process trains in it at the same time. What killed runs left half-written
 * there is removed.
 *
 * @param resume True: the run in the folder goes on; a checkpoint's path: from there, in this folder or a new one
 * @returns Null when the run has no folder
 * @throws {UserError} When a new run would overwrite an old one, there is nothing to resume, another process is training
 *   in the folder, or it cannot be written
 */
export async function openRunFolder(
  run: Run,
  resume: boolean | string,
  { onWarning = () => {} }: RunFolderOptions = {},
): Promise<RunFolder | null> {
  const { out } = run.settings;
  if (out === null) {
    if (resume === true) throw new UserError("There is nothing to resume: the run has no folder (out)");
    return null;
  }
  await assertUsable(out, resume);
  await makeFolder(out);
  using opening = new DisposableStack();
  const lock = opening.use(await takeFolder(out));
  await assertUsable(out, resume); // another process may have trained there in between
  const leftOvers = await removeRunLeftOvers(out);
  describeLeftOvers(leftOvers, "a killed run").forEach(onWarning);
  opening.move();
  return {
    ...placesOf(out),
    async assertThere() {
      if (await leadsTo(out, lock)) return;
      throw new UserError(`${out} was removed or replaced while the run was training in it: start it again`);
    },
    [Symbol.dispose]: () => lock.close(),
  };
}

/**
 * Finds out whether a run may begin or go on in a folder, before anything that takes time.
 *
 * @throws {UserError} As {@linkcode openRunFolder}
 */
export async function checkRunFolder(out: string, resume: boolean | string): Promise<void> {
  await assertUsable(out, resume);
  if ((await statIfThere(out))?.isDirectory) (await takeFolder(out)).close();
}

function placesOf(out: string): Omit<RunFolder, keyof Disposable | "assertThere"> {
  return {
    out,
    checkpoints: join(out, "checkpoints"),
    adapter: join(out, "adapter"),
    metrics: join(out, "metrics.jsonl"),
  };
}

async function takeFolder(out: string): Promise<Deno.FsFile> {
  const lock = await lockFolder(out);
  if (lock !== null) return lock;
  throw new UserError(
    `Cannot train in ${out}: another process is training in it; wait for it, or choose another folder`,
  );
}

async function assertUsable(out: string, resume: boolean | string): Promise<void> {
  const { checkpoints } = placesOf(out);
  const record = join(out, RECORD);
  const canResume = await statIfThere(record) !== null || (await listCheckpoints(checkpoints)).length > 0;
  if (resume === true) {
    if (canResume) return;
    throw new UserError(
      `There is no run in ${out} to resume: ${record} does not exist, and there is no checkpoint`,
    );
  }
  if (typeof resume === "string" && await isSamePlace(dirname(resume), checkpoints)) return;
  const traces = await tracesOfRun(out);
  if (traces.length === 0) return;
  throw new UserError(
    `${out} already holds a run (${traces.join(", ")}): ${canResume ? "resume it (--resume), " : ""}` +
      `choose another folder (--out), or remove this one`,
  );
}

async function isSamePlace(a: string, b: string): Promise<boolean> {
  const [first, second] = [await statIfThere(a), await statIfThere(b)];
  return first !== null && first.ino === second?.ino && first.dev === second.dev;
}

/** What a run wrote into a folder; none where a new one may begin. */
async function tracesOfRun(out: string): Promise<string[]> {
  const { checkpoints, adapter, metrics } = placesOf(out);
  const traces: string[] = [];
  for (const path of [join(out, RECORD), metrics]) {
    if (await statIfThere(path) !== null) traces.push(basename(path));
  }
  for (const folder of [checkpoints, adapter]) {
    const names = (await listFolderIfThere(folder)).map(({ name }) => name);
    traces.push(
      ...names.filter((name) => !name.startsWith(".")).slice(-1).map((name) => join(basename(folder), name)),
    );
  }
  return traces;
}

/** Files of a run that its process alone writes. */
const OWN_FILES = [RECORD, "metrics.jsonl", "examples.json"];
/** Files that a report's process writes too, at any time, in far less than an hour. */
const SHARED_FILES = /^report\.html$|^\.metrics-index\.json$|^events\.out\.tfevents\./;
const HOUR_MS = 60 * 60 * 1000;

/** Folders of what was trained: `adapter` and, where it was not alone, those beside it. */
const ADAPTER_FOLDERS = /^adapter(?:-\d+)?$/;

async function removeRunLeftOvers(out: string): Promise<LeftOvers> {
  const { checkpoints } = placesOf(out);
  const isShared = (name: string) => SHARED_FILES.test(name);
  const inAdapters: LeftOvers[] = [];
  for (const { name } of await listFolderIfThere(out)) {
    if (!ADAPTER_FOLDERS.test(name)) continue;
    const isOurs = (file: string): boolean => [ADAPTER_TENSORS, ADAPTER_CONFIG].includes(file);
    inAdapters.push(await removeLeftOvers(join(out, name), isOurs));
  }
  return joinLeftOvers([
    await removeLeftOvers(out, (name) => OWN_FILES.includes(name)),
    await removeLeftOvers(out, isShared, { minAgeMs: HOUR_MS }),
    await removeLeftOvers(join(out, "tensorboard"), isShared, { minAgeMs: HOUR_MS }),
    await removeUnfinished(checkpoints),
    ...inAdapters,
  ]);
}
