// SPDX-License-Identifier: Apache-2.0
/**
 * Two Bibles as texts to go on with: the Spanish of 1909 (Reina-Valera), which a model that was trained on English hardly reads,
 * and the World English Bible. Both are in the public domain.
 */
import { join } from "node:path";
import { permutation } from "../../lib/core/rng.ts";
import { bring, writeRows } from "./packages.ts";
import { type Book, readSwordBooks } from "./sword.ts";

const MODULES = join("usr", "share", "sword", "modules", "texts", "ztext");
const SPANISH = { name: "sword-text-sparv", of: "Debian", inside: "spaRV1909eb" } as const;
const ENGLISH = { name: "sword-text-web", of: "Debian", inside: "engWEB2015eb" } as const;

/** Rows of a part, and the share of books that are its own. */
export interface VersePart {
  readonly name: string;
  readonly books: number;
  readonly rows: number;
}

/** Parts of the Spanish: a book is of one alone, so that nothing is asked of a text that was half read. */
export const SPANISH_PARTS: readonly VersePart[] = [
  { name: "train", books: 46, rows: 192 },
  { name: "validation", books: 10, rows: 24 },
  { name: "test", books: 10, rows: 48 },
];
/** The English is asked alone. */
export const ENGLISH_PART: VersePart = { name: "english", books: Infinity, rows: 48 };
/** Where it is, in the folder of all parts. */
export const ENGLISH_FILE = join(ENGLISH.inside, `${ENGLISH_PART.name}.jsonl`);

/** Rows drawn once and for all: no seed of a study changes them. */
const SPLIT_SEED = 1;

/** Brings all parts into a folder, `<part>.jsonl` each, unless they are there. */
export async function bringVerses(folder: string, say: (text: string) => void): Promise<void> {
  for (const [{ inside, ...from }, parts] of [[SPANISH, SPANISH_PARTS], [ENGLISH, [ENGLISH_PART]]] as const) {
    await bring(join(folder, inside), from, async (unpacked) => {
      const made = join(unpacked, "made");
      await Deno.mkdir(made);
      const books = await readSwordBooks(join(unpacked, MODULES, inside));
      for (const [name, verses] of splitVerses(books, parts)) {
        await writeRows(join(made, `${name}.jsonl`), verses.map((text) => ({ text })));
      }
      return made;
    }, say);
  }
}

/** Verses of each part, drawn at random from the books that are its own. */
export function splitVerses(books: readonly Book[], parts: readonly VersePart[]): Map<string, string[]> {
  const order = [...permutation(SPLIT_SEED, 0, books.length)].map((book) => books[book] as Book);
  let first = 0;
  return new Map(parts.map(({ name, books: count, rows }, part) => {
    const verses = order.slice(first, first + count).flat();
    first += count;
    const drawn = [...permutation(SPLIT_SEED, part + 1, verses.length)].slice(0, rows);
    return [name, drawn.map((verse) => verses[verse] as string)];
  }));
}
