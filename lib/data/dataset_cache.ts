// SPDX-License-Identifier: Apache-2.0
/**
 * Tokenised data kept on disk, so that a resumed run, a dry run or a second start does not tokenise again.
 *
 * A data set is found by a hash of all that it was made of: the bytes of the data files, the tokenizer, the chat template,
 * the options, and the code that makes tokens of them. What does not hold together is made anew, never trusted; where the
 * folder cannot be used everything works without. Files that were not used longest go when all have more than
 * {@linkcode CACHE_BYTES}.
 */
import { createHash, type Hash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../files/cache.ts";
import { makeFolder, removeIfThere, touchQuietly } from "../files/folders.ts";
import { fileHash } from "../files/hash.ts";
import { describeLeftOvers, removeLeftOvers } from "../files/leftovers.ts";
import { listFolder, readBytesSync, stat, statIfThere } from "../files/read.ts";
import type { Dataset } from "./dataset.ts";
import { datasetBytes, FILE_VERSION, readDataset, writeDataset } from "./dataset_file.ts";
import { chosenTemplate, type ExampleOptions } from "./examples.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What all files may take. */
export const CACHE_BYTES = 8 * 2 ** 30;

/** Data files smaller than this together are tokenised faster than it is worth. */
const SMALLEST = 2 ** 20;

/** Names of the files. */
const ENDING = ".tokens";
const OURS = /^[0-9a-f]{40}\.tokens$/;
/** A file that is being written has grown since then. */
const HOUR_MS = 60 * 60 * 1000;

/** What is asked for. */
export interface CacheRequest {
  readonly files: readonly string[];
  readonly tokenizer: Tokenizer;
  readonly options: ExampleOptions & { readonly badRows?: string };
  /** Called with the reason why the folder could not be used. */
  readonly onNote?: (note: string) => void;
}

/**
 * The data set of a request, from disk where it is kept there.
 *
 * @param make Makes it anew
 */
export async function cachedDataset(request: CacheRequest, make: () => Promise<Dataset>): Promise<Dataset> {
  const { files, tokenizer, options, onNote } = request;
  const folder = await cacheFolder("data");
  const before = folder === null || tokenizer.identity === undefined ? null : await fileStates(files);
  if (folder === null || before === null || before.bytes < SMALLEST) return await make();
  const tell = (error: unknown) =>
    onNote?.(
      `Tokenised data is not kept in "${folder}": ${
        error instanceof Error ? error.message : error
      }; set MEFT_CACHE to ` +
        `another folder, or to off`,
    );
  let [key, path] = ["", ""];
  try {
    key = await requestKey(files, tokenizer, options);
    path = join(folder, `${key.slice(0, 40)}${ENDING}`);
    const kept = await readDataset(path, key, files, tokenizer.vocabSize);
    if (kept !== null) {
      await touchQuietly(path);
      return kept;
    }
  } catch (error) {
    tell(error);
    return await make();
  }
  const made = await make();
  const after = await fileStates(files);
  if (after?.state !== before.state || datasetBytes(made) > CACHE_BYTES) return made; // files that changed meanwhile
  try {
    await makeFolder(folder);
    await writeDataset(path, made, key);
    const leftOvers = await removeLeftOvers(folder, (name) => OURS.test(name), { minAgeMs: HOUR_MS });
    for (const note of describeLeftOvers(leftOvers, "a killed process")) onNote?.(note);
    await removeOldest(folder, path);
  } catch (error) {
    tell(error);
  }
  return made;
}

/** Size of all files, and what changes when one is written to; null unless all are plain files. */
async function fileStates(files: readonly string[]): Promise<{ bytes: number; state: string } | null> {
  try {
    const stats = await Promise.all(files.map(stat));
    if (!stats.every(({ isFile }) => isFile)) return null;
    return {
      bytes: stats.reduce((sum, { size }) => sum + size, 0),
      state: stats.map(({ size, mtime, ino }) => `${size} ${mtime?.getTime()} ${ino}`).join("\n"),
    };
  } catch {
    return null; // whoever reads them says what is wrong
  }
}

/** SHA-256 of everything that decides what the data set is, in hexadecimal. */
async function requestKey(
  files: readonly string[],
  tokenizer: Tokenizer,
  options: CacheRequest["options"],
): Promise<string> {
  const { chatTemplate: _, ...others } = options;
  const { identity, vocabSize, bosId, eosId, padId, specialIds, specialNames, prefixIds, suffixIds } =
    tokenizer;
  const hash = createHash("sha256");
  hash.update(JSON.stringify([
    [FILE_VERSION, await codeIdentity()],
    [identity, vocabSize, bosId, eosId, padId, [...specialIds], specialNames, prefixIds, suffixIds],
    [typeof options.chatTemplate === "object", chosenTemplate(tokenizer, options)?.source ?? null],
    Object.entries(others).sort(([a], [b]) => a < b ? -1 : 1), // functions are left out: they hear, and decide nothing
    files.map((file) => files.indexOf(file)),
  ]));
  for (const file of files) hash.update(await fileHash(file));
  return hash.digest("hex");
}

/**
 * The code between rows and tokens: where its files can be read, their hash, so that no change of it is forgotten; else
 * the address it came from, which has a version in it.
 */
async function codeIdentity(): Promise<string> {
  const hash = createHash("sha256");
  try {
    for (const folder of ["./", "../jinja/"]) await hashModules(new URL(folder, import.meta.url), hash);
    return hash.digest("hex");
  } catch {
    return import.meta.url;
  }
}

async function hashModules(folder: URL, hash: Hash): Promise<void> {
  if ((await Deno.permissions.query({ name: "read", path: folder })).state !== "granted") {
    throw new Error("not granted");
  }
  const path = fileURLToPath(folder);
  for (const { name, isFile } of await listFolder(path)) {
    if (isFile && name.endsWith(".ts")) hash.update(`${name}\0`).update(readBytesSync(join(path, name)));
  }
}

/** Removes the files used longest ago while all have more than they may. The newest stays. */
async function removeOldest(folder: string, newest: string): Promise<void> {
  const kept: { path: string; size: number; used: number }[] = [];
  for (const { name, isFile } of await listFolder(folder)) {
    if (!isFile || !OURS.test(name)) continue;
    const path = join(folder, name);
    const found = await statIfThere(path);
    if (found === null) continue; // another process was faster
    const { size, mtime } = found;
    kept.push({ path, size, used: mtime?.getTime() ?? 0 });
  }
  let bytes = kept.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of kept.sort((a, b) => a.used - b.used)) {
    if (bytes <= CACHE_BYTES) return;
    if (path === newest) continue;
    await removeIfThere(path);
    bytes -= size;
  }
}
