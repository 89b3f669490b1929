// SPDX-License-Identifier: Apache-2.0
/**
 * Checkpoints: `step-NNNNNN` folders with everything for a bit-exact resume. One is written under a hidden name, synced,
 * and renamed into place, so that a folder with a step's name is whole; its manifest tells whether it still is.
 */
import { dirname, join } from "node:path";
import { MachineError, throwIfAny, UserError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import type { DataPosition } from "../data/batches.ts";
import { assertRoom, freeBytes } from "../files/disk.ts";
import { asFileError } from "../files/errors.ts";
import { makeFolder, moveInto, remove, removeQuietly } from "../files/folders.ts";
import { describeUnremoved } from "../files/leftovers.ts";
import { readJsonIfThere, readJsonSync, statIfThere } from "../files/read.ts";
import { unfinishedPath, writeTextAtomically } from "../files/write.ts";
import { writeSafetensors } from "../tensor/write_safetensors.ts";
import {
  checkpointName,
  listCheckpoints,
  removeOld,
  type RemoveOptions,
  removeUnfinished,
  setAside,
} from "./checkpoint_folder.ts";
import {
  arrayBytes,
  optimizerArrays,
  parameterArrays,
  readArraysInto,
  readSources,
} from "./checkpoint_tensors.ts";
import { manifestProblems, writeManifest } from "./manifest.ts";
import { type Run, runIdentity } from "./plan.ts";
import { identityProblems, otherBase } from "./resume.ts";
import { allocate, flushState, type TrainState } from "./state.ts";

const PARAMETERS = "parameters.safetensors";
const OPTIMIZER = "optimizer.safetensors";
const STATE = "state.json";
const FILES = [PARAMETERS, OPTIMIZER, STATE];
const FORMAT_VERSION = 1;
/** Room for headers, JSON and the file system's own records. */
const SLACK_BYTES = 1 << 20;

/** Choices of {@linkcode saveCheckpoint}. */
export interface SaveOptions extends RemoveOptions {
  /** Free bytes of the disk of a folder; for tests. */
  readonly freeBytes?: (folder: string) => Promise<number | null>;
}

/**
 * Writes a checkpoint of a state, then removes older ones beyond `saveTotalLimit`. When anything fails, earlier checkpoints
 * are as they were and the unfinished one is gone.
 *
 * @param folder Where checkpoints are; made if needed     @param dataHash From `datasetHash`
 * @returns Its folder
 * @throws {MachineError} When there is no room, naming the path and the bytes needed
 */
export async function saveCheckpoint(
  run: Run,
  state: TrainState,
  dataHash: string,
  folder: string,
  options: SaveOptions = {},
): Promise<string> {
  const { onWarning = () => {} } = options;
  await flushState(run, state);
  await makeFolder(folder);
  for (const error of (await removeUnfinished(folder)).failures) onWarning(describeUnremoved(error));
  const path = join(folder, checkpointName(state.step));
  const text = stateText(run, state, dataHash);
  if (!(await holdsState(run, state, dataHash, path))) await writeCheckpoint(run, state, text, path, options);
  await removeOld(folder, state.step, run.settings.saveTotalLimit, options);
  return path;
}

/** Whether a whole checkpoint of this run and step is there already: what changed since, if anything, changed no bit of it. */
async function holdsState(run: Run, state: TrainState, dataHash: string, path: string): Promise<boolean> {
  if (await statIfThere(path) === null || (await checkpointProblems(path)).length > 0) return false;
  const saved = await glanceAtState(path);
  return saved?.step === state.step && resumeProblems(saved, run, dataHash).length === 0;
}

async function writeCheckpoint(
  run: Run,
  state: TrainState,
  text: string,
  path: string,
  options: SaveOptions,
): Promise<void> {
  const { kernels: k } = run.model;
  const parameters = parameterArrays(state.params.parameters);
  const optimizer = optimizerArrays(state.params.parameters, state.optim, state.step);
  const bytesNeeded = arrayBytes(parameters) + arrayBytes(optimizer) + SLACK_BYTES;
  assertRoom(path, bytesNeeded, await (options.freeBytes ?? freeBytes)(dirname(path)));

  const unfinished = unfinishedPath(path);
  try {
    await makeFolder(unfinished);
    await writeSafetensors(join(unfinished, PARAMETERS), readSources(k, parameters));
    await writeSafetensors(join(unfinished, OPTIMIZER), readSources(k, optimizer));
    await writeTextAtomically(join(unfinished, STATE), text);
    await writeManifest(unfinished, FILES);
    await makeWay(path);
    await moveInto(unfinished, path);
  } catch (error) {
    await removeQuietly(unfinished);
    const isNamed = error instanceof MachineError || error instanceof UserError;
    const first = isNamed ? error.cause ?? error : error; // named by the checkpoint, not by its file
    throw asFileError(first, "write", path, { bytesNeeded });
  }
}

/** A damaged checkpoint of the same step goes; a whole one, of another run, is set aside. */
async function makeWay(path: string): Promise<void> {
  if (await statIfThere(path) === null) return;
  if ((await checkpointProblems(path)).length > 0) await remove(path);
  else await setAside(dirname(path), [path]);
}

/**
 * The newest checkpoint of a folder, or null when there is none.
 *
 * @throws {UserError} When it is damaged: what is wrong, and which newest one is whole
 */
export async function newestCheckpoint(folder: string): Promise<string | null> {
  const newest = (await listCheckpoints(folder)).at(-1);
  if (!newest) return null;
  await assertComplete(newest.path);
  return newest.path;
}

/**
 * Reads a checkpoint into a new state of this run.
 *
 * @param dataHash Of the data the run is to go on with
 * @throws {UserError} When it is damaged (naming the newest complete one beside it), or belongs to another run,
 *   model or data set (listing every difference)
 */
export async function loadCheckpoint(run: Run, dataHash: string, path: string): Promise<TrainState> {
  await assertComplete(path);
  const saved = readState(path);
  throwIfAny(`Resuming from ${path}`, resumeProblems(saved, run, dataHash));
  const state = allocate(run);
  const optim = { ...state.optim, lrHistory: new Float32Array(saved.step) };
  readArraysInto(run.model.kernels, join(path, PARAMETERS), parameterArrays(state.params.parameters));
  readArraysInto(
    run.model.kernels,
    join(path, OPTIMIZER),
    optimizerArrays(state.params.parameters, optim, saved.step),
  );
  return { ...state, optim, step: saved.step, position: saved.position };
}

/** What is wrong with a checkpoint's files: one sentence each, none when it is complete and undamaged. */
export function checkpointProblems(path: string): Promise<string[]> {
  return manifestProblems(path, FILES);
}

async function assertComplete(path: string): Promise<void> {
  if (!(await statIfThere(path))?.isDirectory) throw new UserError(`There is no checkpoint ${path}`);
  const problems = await checkpointProblems(path);
  if (problems.length === 0) return;
  const whole = await newestComplete(join(path, ".."), path);
  const way = whole === null
    ? "no complete checkpoint is beside it: start the run again"
    : `the newest complete one is ${whole}: remove the damaged one, or resume from that`;
  throw new UserError(`Checkpoint ${path} is damaged: ${problems.join("; ")}; ${way}`);
}

async function newestComplete(folder: string, except: string): Promise<string | null> {
  for (const { path } of (await listCheckpoints(folder)).toReversed()) {
    if (path !== except && (await checkpointProblems(path)).length === 0) return path;
  }
  return null;
}

/** Why a run cannot go on from a checkpoint: one sentence each, none when it can. */
function resumeProblems(saved: SavedState, run: Run, dataHash: string): string[] {
  const problems = identityProblems(saved.identity, run, saved.step);
  const { name, hash, content } = run.base;
  const isOther = saved.baseContent !== undefined && content !== undefined && saved.baseContent !== content;
  if (isOther && saved.identity.baseHash === hash) problems.push(otherBase(name, content, saved.baseContent));
  if (saved.dataHash !== dataHash) {
    problems.push(
      "the data differs: other rows, another order, or tokenised otherwise; give --data and its flags as the run had them",
    );
  }
  return problems;
}

/**
 * Checks what can be checked before data is read: whether a run may go on from the newest checkpoint of a folder.
 *
 * @returns That checkpoint; null when there is none
 * @throws {ValidationError} Listing every setting that cannot change, with both values
 */
export async function checkResume(run: Run, folder: string): Promise<string | null> {
  const newest = (await listCheckpoints(folder)).at(-1) ?? null;
  const saved = newest === null ? null : await glanceAtState(newest.path);
  // What is damaged or missing is told when it is loaded.
  if (saved !== null) {
    throwIfAny(`Resuming from ${newest?.path}`, identityProblems(saved.identity, run, saved.step));
  }
  return newest?.path ?? null;
}

interface SavedState {
  readonly step: number;
  readonly position: DataPosition;
  readonly identity: JsonObject;
  readonly dataHash: string;
  /** Of the base model; earlier versions did not write it. */
  readonly baseContent?: string;
}

function stateText(run: Run, state: TrainState, dataHash: string): string {
  const { step, position } = state;
  const saved = {
    format_version: FORMAT_VERSION,
    step,
    position,
    dataHash,
    baseContent: run.base.content,
    identity: runIdentity(run),
  };
  return JSON.stringify(saved, null, 2) + "\n";
}

/** The manifest vouches for the bytes, so only another version of the format can be in the way. */
function readState(path: string): SavedState {
  const saved = knownState(readJsonSync(join(path, STATE)));
  if (saved !== null) return saved;
  throw new UserError(`Checkpoint ${path} has another format than this version reads (${FORMAT_VERSION})`);
}

/** The state of a checkpoint that nobody vouches for yet; null where it cannot be made out. */
async function glanceAtState(path: string): Promise<SavedState | null> {
  return knownState(await readJsonIfThere(join(path, STATE)).catch(() => null));
}

function knownState(value: unknown): SavedState | null {
  if (!isJsonObject(value) || value.format_version !== FORMAT_VERSION) return null;
  const isWhole = isJsonObject(value.identity) && isJsonObject(value.identity.adapter) &&
    isJsonObject(value.position) && Number.isSafeInteger(value.step);
  return isWhole ? value as unknown as SavedState : null;
}
