// SPDX-License-Identifier: Apache-2.0
/** Which tensor lies in which file of a checkpoint folder: one `model.safetensors`, or shards with or without an index. */
import { join } from "node:path";
import { ValidationError } from "../core/errors.ts";
import { readSafetensorsHeader, type SafetensorsFile, type TensorEntry } from "./safetensors.ts";

/** The tensors of a folder, over all its files. */
export interface CheckpointIndex {
  readonly files: readonly SafetensorsFile[];
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const SHARD = /^model-(\d+)-of-(\d+)\.safetensors$/;
const OTHER_FORMATS = [
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
  "consolidated.00.pth",
  "model.gguf",
];

/**
 * Reads the headers of all weight files of a folder. What can be read is returned even when there are problems, so that
 * the caller can look for more before it throws.
 *
 * @mutates problems: one sentence for each missing, malformed or contradicting file
 */
export function indexCheckpoint(folder: string, problems: string[]): CheckpointIndex {
  const weightMap = new Map<string, string>();
  const names = weightFiles(folder, weightMap, problems);
  const files: SafetensorsFile[] = [];
  const tensors = new Map<string, TensorEntry>();
  for (const name of names) {
    const file = readFile(join(folder, name), problems);
    if (file === null) continue;
    files.push(file);
    for (const entry of file.tensors.values()) {
      const earlier = tensors.get(entry.name);
      if (earlier !== undefined) {
        problems.push(`Tensor "${entry.name}" is both in ${earlier.path} and in ${entry.path}`);
      }
      tensors.set(entry.name, entry);
      const indexed = weightMap.get(entry.name);
      if (weightMap.size > 0 && indexed !== name) {
        problems.push(
          `Tensor "${entry.name}" is in ${name}, but ${INDEX} ${
            indexed ? `says ${indexed}` : "does not name it"
          }`,
        );
      }
    }
  }
  for (const [tensor, name] of weightMap) {
    const read = files.some((file) => file.path === join(folder, name));
    if (read && !tensors.has(tensor)) {
      problems.push(`${INDEX} places tensor "${tensor}" in ${name}, which lacks it`);
    }
  }
  return { files, tensors };
}

/** Names of the weight files. `model.safetensors` comes first, as with transformers. @mutates weightMap, problems */
function weightFiles(folder: string, weightMap: Map<string, string>, problems: string[]): string[] {
  const present = folderNames(folder, problems);
  if (present === null) return [];
  if (present.includes(SINGLE)) return [SINGLE];
  if (present.includes(INDEX)) {
    readWeightMap(join(folder, INDEX), weightMap, problems);
    return [...new Set(weightMap.values())].sort();
  }
  const shards = present.filter((name) => SHARD.test(name)).sort();
  if (shards.length > 0) return completeShards(folder, shards, problems);
  const other = OTHER_FORMATS.find((name) => present.includes(name));
  problems.push(
    `${folder} has no ${SINGLE} and no ${INDEX}` +
      (other === undefined
        ? ""
        : `; it has ${other}: save it again with safe_serialization to get safetensors`),
  );
  return [];
}

function folderNames(folder: string, problems: string[]): string[] | null {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    problems.push(
      error instanceof Deno.errors.NotFound
        ? `Folder ${folder} does not exist`
        : `Folder ${folder} cannot be read: ${error instanceof Error ? error.message : error}`,
    );
    return null;
  }
}

/** All names model-i-of-n with the n that the shards present agree on. */
function completeShards(folder: string, shards: readonly string[], problems: string[]): string[] {
  const [, digits = "", total = ""] = SHARD.exec(shards[0] as string) ?? [];
  const complete = Array.from(
    { length: Number(total) },
    (_, i) => `model-${String(i + 1).padStart(digits.length, "0")}-of-${total}.safetensors`,
  );
  const strangers = shards.filter((name) => !complete.includes(name));
  if (strangers.length > 0) problems.push(`${folder} has shards of different sets: ${shards.join(", ")}`);
  return complete;
}

function readWeightMap(path: string, weightMap: Map<string, string>, problems: string[]): void {
  let index: unknown;
  try {
    index = JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    problems.push(`${path} cannot be read as JSON: ${error instanceof Error ? error.message : error}`);
    return;
  }
  const map = typeof index === "object" && index !== null && "weight_map" in index ? index.weight_map : null;
  if (typeof map !== "object" || map === null || Array.isArray(map) || Object.keys(map).length === 0) {
    problems.push(`${path} has no weight_map of tensor names to file names`);
    return;
  }
  for (const [tensor, name] of Object.entries(map)) {
    // A file name, not a path: an index must not reach out of its folder.
    if (typeof name === "string" && /^[^/\\]+\.safetensors$/.test(name)) weightMap.set(tensor, name);
    else {problems.push(
        `${path} places tensor "${tensor}" in ${JSON.stringify(name)}, not a file of this folder`,
      );}
  }
}

function readFile(path: string, problems: string[]): SafetensorsFile | null {
  try {
    return readSafetensorsHeader(path);
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    problems.push(...error.problems.map((problem) => `${path}: ${problem}`));
    return null;
  }
}
