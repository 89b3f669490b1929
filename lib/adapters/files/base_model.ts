// SPDX-License-Identifier: Apache-2.0
/**
 * Which model a saved adapter belongs to, and where that is found again. The hash of the base decides; paths are where to look:
 * the absolute one stays true when the adapter moves, the one from the adapter's folder when both move together.
 */
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { UserError, ValidationError } from "../../core/errors.ts";
import { isThereSync, realPathSync } from "../../files/read.ts";
import { type HeadConfig, readHeadText } from "../../models/heads/head_config.ts";
import { modelHash } from "../../tensor/model_hash.ts";

/** The model an adapter belongs to. */
export interface BaseIdentity {
  /** Folder or name, for people. */
  readonly name: string;
  /** Tells whether it is the same model. */
  readonly hash: string;
  /** Tells whether every byte of it is the same; left out where that was not asked. */
  readonly content?: string;
  /** Left out of a language model. */
  readonly head?: HeadConfig;
}

/** What a saved adapter says of its base. What its folder does not tell is null. */
export interface SavedBase {
  /** Folder, or name on the Hugging Face hub. */
  readonly name: string | null;
  readonly hash: string | null;
  /** Of the folder, absolute. */
  readonly path: string | null;
  /** Of the folder, from that of the adapter, with slashes. */
  readonly relativePath: string | null;
}

/** What is written of a base. */
export interface BaseRecord {
  /** What PEFT's `base_model_name_or_path` says: the absolute path, or the name of a model of the hub's cache. */
  readonly name: string;
  /** The hub's revision; null for a folder. */
  readonly revision: string | null;
  readonly hash: string;
  readonly path: string;
  readonly relativePath: string;
  /** Null of a language model. */
  readonly head: HeadConfig | null;
}

/** A snapshot in the cache of the Hugging Face hub. */
const SNAPSHOT = /[\\/]models--([^\\/]+)[\\/]snapshots[\\/]([0-9a-f]{40})$/;

/** Describes a base for an adapter that is saved in `folder`, which exists. */
export function baseRecord({ name, hash, head }: BaseIdentity, folder: string): BaseRecord {
  const path = placeOf(name);
  const [, repository, revision] = SNAPSHOT.exec(path) ?? [];
  return {
    name: repository?.replaceAll("--", "/") ?? path,
    revision: revision ?? null,
    hash,
    path,
    relativePath: relative(placeOf(folder), path).split(sep).join("/"),
    head: head ?? null,
  };
}

function placeOf(path: string): string {
  try {
    return realPathSync(path);
  } catch {
    return resolve(path); // a model that is described by its configuration alone has no folder
  }
}

const FIELDS = {
  hash: "base_model_hash",
  path: "base_model_path",
  relativePath: "base_model_relative_path",
  head: "base_model_head",
} as const;

/** The record as fields that are ours. */
export function baseFields({ hash, path, relativePath, head }: BaseRecord): Readonly<Record<string, string>> {
  return {
    [FIELDS.hash]: hash,
    [FIELDS.path]: path,
    [FIELDS.relativePath]: relativePath,
    ...(head && { [FIELDS.head]: JSON.stringify(head) }),
  };
}

/** The head that {@linkcode baseFields} wrote: null where there is none, or none that can be read. */
export function readBaseHead(fields: Readonly<Record<string, unknown>>): HeadConfig | null {
  const text = fields[FIELDS.head];
  return typeof text === "string" ? readHeadText(text) : null;
}

/** Reads what {@linkcode baseFields} wrote. */
export function readBase(name: string | null, fields: Readonly<Record<string, unknown>>): SavedBase {
  const text = (field: string): string | null => {
    const value = fields[field];
    return typeof value === "string" && value !== "" ? value : null;
  };
  return {
    name,
    hash: text(FIELDS.hash),
    path: text(FIELDS.path),
    relativePath: text(FIELDS.relativePath),
  };
}

/**
 * The folder of the model that a saved adapter belongs to.
 *
 * @param folder Of the adapter     @param others Folders to look at last, where the hash is known
 * @throws {UserError} When it is not found, or is another model by now: what was looked at, and the way out
 */
export function findBase(base: SavedBase, folder: string, others: readonly string[] = []): string {
  const isModel = (place: string): boolean => isThereSync(join(place, "config.json"));
  const isBase = (place: string): boolean => base.hash === null || hashOf(place) === base.hash;
  const places = [...new Set(basePlaces(base, folder))].filter(isModel);
  const found = places.find(isBase) ??
    (base.hash === null ? undefined : others.filter(isModel).find(isBase));
  if (found !== undefined) return found;
  const name = base.name ?? base.path;
  const what = name === null ? "has no name in its folder" : `is ${name}`;
  const looked = places.length > 0
    ? `${places.join(" and ")} ${places.length > 1 ? "are" : "is"} another model by now (by the hash)`
    : "there is no such folder here";
  throw new UserError(
    `The base model of adapter ${folder} ${what}, and ${looked}: give the folder of the model with --model`,
  );
}

/** Where the base may be, the likeliest first. */
function basePlaces({ name, hash, path, relativePath }: SavedBase, folder: string): string[] {
  const places: string[] = [];
  if (relativePath !== null) places.push(join(placeOf(folder), relativePath));
  if (path !== null) places.push(path);
  if (name === null) return places;
  places.push(resolve(name));
  if (hash === null || isAbsolute(name)) return places;
  // Older adapters hold what was typed: it holds from some folder above the adapter's.
  for (let above = placeOf(folder); dirname(above) !== above; above = dirname(above)) {
    places.push(join(dirname(above), name));
  }
  return places;
}

/** Null for a folder that holds no whole model. */
function hashOf(folder: string): string | null {
  try {
    return modelHash(folder);
  } catch (error) {
    if (error instanceof ValidationError) return null;
    throw error;
  }
}
