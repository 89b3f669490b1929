// SPDX-License-Identifier: Apache-2.0
/** WordNet's nouns: as a classification set, a definition and the kind of thing that it defines; and as English to read. */
import { join } from "node:path";
import { permutation } from "../../lib/core/rng.ts";
import { bring, writeRows } from "./packages.ts";

/** WordNet 3.0 (WordNet licence). */
const PACKAGE = { name: "wordnet-base", of: "Debian" } as const;
const NOUNS_INSIDE = join("usr", "share", "wordnet", "data.noun");

/** In the folder of the set's parts: whole entries, as texts. */
export const ENTRIES_FILE = "entries.jsonl";
/** How many of them. */
const ENTRY_COUNT = 96;

/** Brings the set's parts into a folder, `<part>.jsonl` each, and entries, unless they are there. */
export async function bringDefinitions(to: string, say: (text: string) => void): Promise<void> {
  await bring(to, PACKAGE, async (unpacked) => {
    const nouns = new TextDecoder("latin1").decode(await Deno.readFile(join(unpacked, NOUNS_INSIDE)));
    const made = join(unpacked, "made");
    await Deno.mkdir(made);
    for (const [name, rows] of Object.entries(splitDefinitions(readDefinitions(nouns)))) {
      await writeRows(join(made, `${name}.jsonl`), rows);
    }
    const entries = readEntries(nouns);
    const drawn = [...permutation(SPLIT_SEED, 1, entries.length)].slice(0, ENTRY_COUNT);
    await writeRows(join(made, ENTRIES_FILE), drawn.map((entry) => ({ text: entries[entry] })));
    return made;
  }, say);
}

/** A definition with its class. */
export interface Definition {
  readonly text: string;
  readonly label: string;
}

/** The larger lexicographer files of nouns, by their numbers in `data.noun`: see lexnames(5WN). */
const CLASSES: ReadonlyMap<string, string> = new Map([
  ["04", "act"],
  ["05", "animal"],
  ["06", "artifact"],
  ["09", "cognition"],
  ["10", "communication"],
  ["13", "food"],
  ["15", "location"],
  ["18", "person"],
  ["20", "plant"],
  ["26", "state"],
]);

/**
 * Definitions of the classes, in the order of the file, each text once: what one word means stands under another too.
 *
 * @param nouns `data.noun` of WordNet 3.0: a licence in lines that begin with spaces, then synsets,
 *   `offset file type words … | definition; "example"; …` (wndb(5WN))
 */
export function readDefinitions(nouns: string): Definition[] {
  const found = new Map<string, Definition>();
  for (const line of nouns.split("\n")) {
    if (line.startsWith(" ")) continue;
    const [synset = "", gloss = ""] = line.split(" | ");
    const label = CLASSES.get(synset.split(" ")[1] ?? "");
    const text = (gloss.split(";")[0] as string).trim();
    if (label !== undefined && text !== "" && !found.has(text)) found.set(text, { text, label });
  }
  return [...found.values()];
}

/** A line a synset: its first word and what the dictionary says of it, examples too. @param nouns See {@linkcode readDefinitions} */
export function readEntries(nouns: string): string[] {
  return nouns.split("\n").flatMap((line) => {
    if (line.startsWith(" ") || line === "") return [];
    const [synset = "", gloss = ""] = line.split(" | ");
    return [`${(synset.split(" ")[4] ?? "").replaceAll("_", " ")}: ${gloss.trim()}`];
  });
}

/** Parts of the set, none of which has a row of another. */
export interface Split {
  readonly train: readonly Definition[];
  /** For the choice of learning rates alone. */
  readonly validation: readonly Definition[];
  readonly test: readonly Definition[];
}

/** Rows of each part. */
export const SPLIT_SIZES = { train: 2000, validation: 500, test: 1000 } as const;

/** Rows drawn once and for all: no seed of the study changes them. */
const SPLIT_SEED = 1;

/** @throws {RangeError} When there are too few rows */
export function splitDefinitions(
  definitions: readonly Definition[],
  sizes: Readonly<Record<keyof Split, number>> = SPLIT_SIZES,
): Split {
  const { train, validation, test } = sizes;
  if (definitions.length < train + validation + test) {
    throw new RangeError(`There are ${definitions.length} definitions, fewer than the parts together`);
  }
  const order = [...permutation(SPLIT_SEED, 0, definitions.length)];
  const rows = order.slice(0, train + validation + test).map((row) => definitions[row] as Definition);
  return {
    train: rows.slice(0, train),
    validation: rows.slice(train, train + validation),
    test: rows.slice(train + validation),
  };
}
