// SPDX-License-Identifier: Apache-2.0
/** The manifest of a checkpoint: what belongs to it, with sizes and hashes. Written last; without it nothing is complete. */
import { quotedValue } from "../core/quoted.ts";
import { join } from "node:path";
import { isJsonObject } from "../core/json.ts";
import { problemOf, saysForbidden } from "../files/errors.ts";
import { fileHash } from "../files/hash.ts";
import { readJsonIfThere, stat, statIfThere } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";

/** Name of the manifest file. */
const MANIFEST = "manifest.json";

const FORMAT_VERSION = 1;

interface ManifestFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Writes the manifest of files that are already there. */
export async function writeManifest(folder: string, names: readonly string[]): Promise<void> {
  const files: ManifestFile[] = [];
  for (const name of names) {
    const path = join(folder, name);
    files.push({ name, bytes: (await stat(path)).size, sha256: await fileHash(path) });
  }
  const manifest = { format_version: FORMAT_VERSION, files };
  await writeTextAtomically(join(folder, MANIFEST), JSON.stringify(manifest, null, 2) + "\n");
}

/**
 * What is wrong with the files of a checkpoint: one sentence each, none when it is complete and undamaged.
 *
 * @param names Files that it must have; the manifest lists these, each once, and no others
 * @throws {UserError} When a file may not be read: then nobody knows
 */
export async function manifestProblems(folder: string, names: readonly string[]): Promise<string[]> {
  const files = await readManifest(folder);
  if (typeof files === "string") return [files];
  const listed = files.map(({ name }) => name);
  const problems = listProblems(listed, names);
  for (const { name, bytes, sha256 } of files) {
    if (!names.includes(name)) continue; // no path that a manifest names is looked at otherwise
    const path = join(folder, name);
    const found = await statIfThere(path);
    if (found === null) problems.push(`${name} is missing`);
    else if (!found.isFile) problems.push(`${name} is no file`);
    else if (found.size < bytes) problems.push(`${name} is truncated: ${found.size} bytes of ${bytes}`);
    else if (found.size > bytes) problems.push(`${name} has ${found.size} bytes, expected ${bytes}`);
    else if (await fileHash(path) !== sha256) {
      problems.push(`${name} is corrupt: its hash is not the manifest's`);
    }
  }
  return problems;
}

function listProblems(listed: readonly string[], names: readonly string[]): string[] {
  const twice = new Set(listed.filter((name, i) => listed.indexOf(name) < i));
  return [
    ...names.filter((name) => !listed.includes(name)).map((name) => `${MANIFEST} does not list ${name}`),
    ...listed.filter((name) => !names.includes(name)).map((name) =>
      `${MANIFEST} lists ${JSON.stringify(name)}, which is no file of a checkpoint`
    ),
    ...[...twice].map((name) => `${MANIFEST} lists ${JSON.stringify(name)} twice`),
  ];
}

async function readManifest(folder: string): Promise<readonly ManifestFile[] | string> {
  let value: unknown;
  try {
    value = await readJsonIfThere(join(folder, MANIFEST));
  } catch (error) {
    if (saysForbidden(error)) throw error; // the checkpoint may be whole: nothing is to be made of it, least of all room
    return problemOf(error);
  }
  if (value === null) return `${MANIFEST} is missing`;
  const files = isJsonObject(value) ? value["files"] : undefined;
  if (!isJsonObject(value) || !Array.isArray(files) || !files.every(isManifestFile)) {
    return `${MANIFEST} is not a manifest`;
  }
  if (value["format_version"] !== FORMAT_VERSION) {
    return `${MANIFEST} has format ${
      quotedValue(value["format_version"])
    }, this version reads ${FORMAT_VERSION}`;
  }
  return files;
}

function isManifestFile(value: unknown): value is ManifestFile {
  if (!isJsonObject(value)) return false;
  const { name, bytes, sha256 } = value as Record<string, unknown>;
  return typeof name === "string" && typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) &&
    Number.isSafeInteger(bytes) && (bytes as number) >= 0;
}
