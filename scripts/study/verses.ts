// SPDX-License-Identifier: Apache-2.0
/**
 * The Spanish Bible of 1909 (Reina-Valera, in the public domain) as a text to go on with: a model that was trained on English
 * hardly reads it.
 */
import { join } from "node:path";
import { permutation } from "../../lib/core/rng.ts";
import { bring, writeRows } from "./packages.ts";
import { type Book, readSwordBooks } from "./sword.ts";

const PACKAGE = { name: "sword-text-sparv", of: "Debian" } as const;
const INSIDE = join("usr", "share", "sword", "modules", "texts", "ztext", "spaRV1909eb");

/** Rows of a part, and how many books are its own: nothing is asked of a text that was half read. */
export const VERSE_PARTS = {
  train: { books: 46, rows: 96 },
  /** For the choice of learning rates alone. */
  validation: { books: 10, rows: 16 },
  test: { books: 10, rows: 32 },
} as const;

/** Rows drawn once and for all: no seed of a study changes them. */
const SPLIT_SEED = 1;

/** Brings all parts into a folder, `<part>.jsonl` each, unless they are there. */
export async function bringVerses(to: string, say: (text: string) => void): Promise<void> {
  await bring(to, PACKAGE, async (unpacked) => {
    const made = join(unpacked, "made");
    await Deno.mkdir(made);
    for (const [name, verses] of splitVerses(await readSwordBooks(join(unpacked, INSIDE)))) {
      await writeRows(join(made, `${name}.jsonl`), verses.map((text) => ({ text })));
    }
    return made;
  }, say);
}

/** Verses of each part, drawn at random from the books that are its own. */
export function splitVerses(books: readonly Book[]): Map<string, string[]> {
  const order = [...permutation(SPLIT_SEED, 0, books.length)].map((book) => books[book] as Book);
  let first = 0;
  return new Map(
    Object.entries(VERSE_PARTS).map(([name, { books: count, rows }], part) => {
      const verses = order.slice(first, first + count).flat();
      first += count;
      const drawn = [...permutation(SPLIT_SEED, part + 1, verses.length)].slice(0, rows);
      return [name, drawn.map((verse) => verses[verse] as string)];
    }),
  );
}
