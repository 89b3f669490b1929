// SPDX-License-Identifier: Apache-2.0
/** The manifest of a checkpoint: what belongs to it, with sizes and hashes. Written last; without it nothing is complete. */
import { join } from "node:path";
import { isJsonObject } from "../core/json.ts";
import { writeTextAtomically } from "../files/write.ts";
import { fileHash } from "../files/hash.ts";

/** Name of the manifest file. */
export const MANIFEST = "manifest.json";

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
    files.push({ name, bytes: (await Deno.stat(path)).size, sha256: await fileHash(path) });
  }
  const manifest = { format_version: FORMAT_VERSION, files };
  await writeTextAtomically(join(folder, MANIFEST), JSON.stringify(manifest, null, 2) + "\n");
}

/** What is wrong with the files of a checkpoint: one sentence each, none when it is complete and undamaged. */
export async function manifestProblems(folder: string): Promise<string[]> {
  const files = await readManifest(folder);
  if (typeof files === "string") return [files];
  const problems: string[] = [];
  for (const { name, bytes, sha256 } of files) {
    const path = join(folder, name);
    const found = await fileBytes(path);
    if (found === null) problems.push(`${name} is missing`);
    else if (found < bytes) problems.push(`${name} is truncated: ${found} bytes of ${bytes}`);
    else if (found > bytes) problems.push(`${name} has ${found} bytes, expected ${bytes}`);
    else if (await fileHash(path) !== sha256) {
      problems.push(`${name} is corrupt: its hash is not the manifest's`);
    }
  }
  return problems;
}

async function fileBytes(path: string): Promise<number | null> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

async function readManifest(folder: string): Promise<readonly ManifestFile[] | string> {
  let value: unknown;
  try {
    value = JSON.parse(await Deno.readTextFile(join(folder, MANIFEST)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${MANIFEST} is missing`;
    return `${MANIFEST} cannot be read: ${error instanceof Error ? error.message : error}`;
  }
  const files = isJsonObject(value) ? value["files"] : undefined;
  if (!isJsonObject(value) || !Array.isArray(files) || !files.every(isManifestFile)) {
    return `${MANIFEST} is not a manifest`;
  }
  if (value["format_version"] !== FORMAT_VERSION) {
    return `${MANIFEST} has format ${
      JSON.stringify(value["format_version"])
    }, this version reads ${FORMAT_VERSION}`;
  }
  return files;
}

function isManifestFile(value: unknown): value is ManifestFile {
  if (!isJsonObject(value)) return false;
  const { name, bytes, sha256 } = value as Record<string, unknown>;
  return typeof name === "string" && typeof sha256 === "string" && Number.isSafeInteger(bytes);
}
