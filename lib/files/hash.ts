// SPDX-License-Identifier: Apache-2.0
/** SHA-256 of files, and of large ones only when they have changed. */
import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { isJsonObject } from "../core/json.ts";
import { makeFolder } from "./folders.ts";
import { removeLeftOvers } from "./leftovers.ts";
import { readJsonIfThere, readPieces, stat } from "./read.ts";
import { type FileState, isSameState, stateOf } from "./state.ts";
import { writeTextAtomically } from "./write.ts";

/** SHA-256 of a file's bytes, in hexadecimal. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of readPieces(path)) hash.update(piece);
  return hash.digest("hex");
}

/** Files smaller than this are hashed faster than it is worth. */
const SMALLEST_BYTES = 2 ** 25;
/** A file that was written less than this ago may be written again within the same tick of its clock. */
const SETTLED_MS = 2000;
const HOUR_MS = 60 * 60 * 1000;
const KEPT = /^[0-9a-f]{40}\.json$/;

/** Choices of {@linkcode keptFileHash}. */
export interface KeptHashOptions {
  /** Where hashes of large files are kept with the states that these had; null keeps none. */
  readonly folder: string | null;
  /** Called with a large file that has to be read whole. Default: none. */
  readonly onRead?: (bytes: number) => void;
}

/** {@linkcode fileHash}, not computed again while the file's state is the one that it was computed at. */
export async function keptFileHash(path: string, { folder, onRead }: KeptHashOptions): Promise<string> {
  const before = stateOf(await stat(path));
  if (before.bytes < SMALLEST_BYTES) return await fileHash(path);
  const name = `${createHash("sha256").update(resolve(path)).digest("hex").slice(0, 40)}.json`;
  const kept = folder === null ? null : await readKept(join(folder, name), before);
  if (kept !== null) return kept;
  onRead?.(before.bytes);
  const begunMs = Date.now();
  const hash = await fileHash(path);
  const newestMs = Math.max(before.writtenMs ?? Infinity, before.changedMs ?? Infinity);
  const isSettled = begunMs - newestMs > SETTLED_MS && isSameState(before, stateOf(await stat(path)));
  if (folder !== null && isSettled) await keep(folder, name, { state: before, sha256: hash });
  return hash;
}

async function readKept(path: string, state: FileState): Promise<string | null> {
  const kept = await readJsonIfThere(path).catch(() => null); // a damaged one is as good as none
  if (!isJsonObject(kept) || typeof kept.sha256 !== "string" || !/^[0-9a-f]{64}$/.test(kept.sha256)) {
    return null;
  }
  return isJsonObject(kept.state) && isSameState(kept.state as unknown as FileState, state)
    ? kept.sha256
    : null;
}

/** What cannot be kept is computed again: that is no reason to fail. */
async function keep(folder: string, name: string, value: object): Promise<void> {
  try {
    await makeFolder(folder);
    await removeLeftOvers(folder, (whole) => KEPT.test(whole), { minAgeMs: HOUR_MS });
    await writeTextAtomically(join(folder, name), `${JSON.stringify(value)}\n`);
  } catch {
    return;
  }
}
