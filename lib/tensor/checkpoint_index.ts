// SPDX-License-Identifier: Apache-2.0
/** Which tensor lies in which file of a checkpoint folder: one `model.safetensors`, or shards with or without an index. */
import { join, normalize } from "node:path";
import { ValidationError } from "../core/errors.ts";
import { quotedNames, quotedValue } from "../core/quoted.ts";
import { problemOf, saysNotFound } from "../files/errors.ts";
import { listFolderSync, readJsonSync } from "../files/read.ts";
import { readSafetensorsHeader, type SafetensorsFile, type TensorEntry } from "./safetensors.ts";

/** The tensors of a folder, over all its files. */
export interface CheckpointIndex {
  readonly files: readonly SafetensorsFile[];
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const SHARD = /^model-(\d+)-of-(\d+)\.safetensors$/;
/** More shards than any checkpoint has: the largest published ones have a few hundred. */
const MOST_SHARDS = 10_000;

/** Files that people have instead, and what to do with them. */
const OTHER_FORMATS: readonly [name: RegExp, advice: string][] = [
  [
    /^pytorch_model.*\.bin(\.index\.json)?$/,
    "pickled weights are never read: load it with transformers and save_pretrained it again to get safetensors",
  ],
  [
    /^adapter_model\.(safetensors|bin)$/,
    "that is an adapter: give the folder of its base model as the model, and this one as the adapter",
  ],
  [
    /^consolidated\..*(safetensors|pth)$/,
    "those are weights under their makers' own names: use the files for transformers, or convert them",
  ],
  [/\.gguf$/, "GGUF is not supported: use the safetensors checkpoint that it was made from"],
  [/\.(bin|pt|pth|ckpt|h5|msgpack)$/, "only safetensors are read: save it again with save_pretrained"],
  [/\.safetensors$/, `weights are looked for under ${SINGLE}, or in shards that ${INDEX} names`],
];

/**
 * Reads the headers of all weight files of a folder, chosen as transformers does: `model.safetensors`, else the files that
 * the index names. As there, every tensor of these files counts, whatever the index says of it. What can be read is returned
 * even when there are problems, so that the caller can look for more before it throws.
 *
 * @mutates problems: one sentence for each missing, malformed or contradicting file
 * @mutates warnings: where the index says other than its files
 */
export function indexCheckpoint(
  folder: string,
  problems: string[],
  warnings: string[] = [],
): CheckpointIndex {
  const before = problems.length;
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
        problems.push(`Tensor ${quotedValue(entry.name)} is both in ${earlier.path} and in ${entry.path}`);
      }
      tensors.set(entry.name, entry);
    }
  }
  if (tensors.size === 0 && problems.length === before) {
    problems.push(`${folder} has weight files without tensors`);
  }
  if (files.length === names.length) warnOfIndex(folder, weightMap, tensors, warnings);
  return { files, tensors };
}

/** Says where the index and its files differ. @mutates warnings */
function warnOfIndex(
  folder: string,
  weightMap: ReadonlyMap<string, string>,
  tensors: ReadonlyMap<string, TensorEntry>,
  warnings: string[],
): void {
  if (weightMap.size === 0) return;
  const absent = [...weightMap.keys()].filter((name) => !tensors.has(name));
  const unnamed = [...tensors.keys()].filter((name) => !weightMap.has(name));
  const moved = [...weightMap].filter(([name, file]) =>
    tensors.has(name) && tensors.get(name)?.path !== join(folder, file)
  ).map(([name]) => name);
  const say = (names: readonly string[], what: string): void => {
    if (names.length > 0) warnings.push(`${INDEX} ${what}: ${quotedNames(names)}`);
  };
  say(absent, "names tensors that its files lack");
  say(unnamed, "does not name tensors that its files have, which are used");
  say(moved, "places tensors in another file than the one they are in");
}

/** Names of the weight files. `model.safetensors` comes first, as with transformers. @mutates weightMap, problems */
function weightFiles(folder: string, weightMap: Map<string, string>, problems: string[]): string[] {
  const present = folderNames(folder, problems);
  if (present === null) return [];
  if (present.includes(SINGLE)) return [SINGLE];
  if (present.includes(INDEX)) {
    readWeightMap(join(folder, INDEX), weightMap, problems);
    return knownNumber([...new Set(weightMap.values())].sort(), problems);
  }
  const shards = present.filter((name) => SHARD.test(name)).sort();
  if (shards.length > 0) return completeShards(folder, shards, problems);
  problems.push(`${folder} has no ${SINGLE} and no ${INDEX}${otherFormat(present)}`);
  return [];
}

function otherFormat(present: readonly string[]): string {
  for (const [pattern, advice] of OTHER_FORMATS) {
    const name = present.find((file) => pattern.test(file));
    if (name !== undefined) return `; it has ${name}: ${advice}`;
  }
  return "";
}

/** No names when there are too many to be true. @mutates problems */
function knownNumber(names: string[], problems: string[]): string[] {
  if (names.length <= MOST_SHARDS) return names;
  problems.push(`The checkpoint is said to have ${names.length} files, more than the ${MOST_SHARDS} allowed`);
  return [];
}

function folderNames(folder: string, problems: string[]): string[] | null {
  try {
    return listFolderSync(folder).map((entry) => entry.name);
  } catch (error) {
    problems.push(saysNotFound(error) ? `Folder ${folder} does not exist` : problemOf(error));
    return null;
  }
}

/** All names model-i-of-n with the n that the shards present agree on. */
function completeShards(folder: string, shards: readonly string[], problems: string[]): string[] {
  const [, digits = "", total = ""] = SHARD.exec(shards[0] as string) ?? [];
  if (Number(total) > MOST_SHARDS) {
    problems.push(`${shards[0]} speaks of ${total} files, more than the ${MOST_SHARDS} allowed`);
    return [];
  }
  const complete = Array.from(
    { length: Number(total) },
    (_, i) => `model-${String(i + 1).padStart(digits.length, "0")}-of-${total}.safetensors`,
  );
  const known = new Set(complete);
  if (shards.some((name) => !known.has(name))) {
    problems.push(`${folder} has shards of different sets: ${quotedNames(shards)}`);
  }
  return complete;
}

/** Indexes of the largest published checkpoints have 13 MB. */
const MOST_INDEX_BYTES = 16 << 20;

function readWeightMap(path: string, weightMap: Map<string, string>, problems: string[]): void {
  let index: unknown;
  try {
    index = readJsonSync(path, { maxBytes: MOST_INDEX_BYTES });
  } catch (error) {
    problems.push(problemOf(error));
    return;
  }
  const map = typeof index === "object" && index !== null && "weight_map" in index ? index.weight_map : null;
  if (typeof map !== "object" || map === null || Array.isArray(map) || Object.keys(map).length === 0) {
    problems.push(`${path} has no weight_map of tensor names to file names`);
    return;
  }
  for (const [tensor, name] of Object.entries(map)) {
    const inside = typeof name === "string" ? pathInside(name) : null;
    if (inside?.endsWith(".safetensors")) weightMap.set(tensor, inside);
    else {
      const what = inside === null ? "not a file of this folder" : "not a safetensors file";
      problems.push(`${path} places tensor ${quotedValue(tensor)} in ${quotedValue(name)}, ${what}`);
    }
  }
}

/** The path without detours, or null when it leads out of the folder: an index is not trusted. */
function pathInside(path: string): string | null {
  if (path.startsWith("/") || /[\\:\0]/.test(path)) return null;
  const plain = normalize(path);
  return plain === ".." || plain.startsWith("../") ? null : plain;
}

function readFile(path: string, problems: string[]): SafetensorsFile | null {
  try {
    return readSafetensorsHeader(path);
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    for (const problem of error.problems) problems.push(`${path}: ${problem}`);
    return null;
  }
}
