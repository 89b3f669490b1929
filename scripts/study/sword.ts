// SPDX-License-Identifier: Apache-2.0
/**
 * Texts of the SWORD project's modules of kind zText with a book a block: `ot` and `nt`, each of three files. `bzs` has for every
 * block where it begins in `bzz` and how long it is there, `bzv` for every verse its block, where in that it begins and how long it
 * is; blocks are deflated (zlib). What is marked up is OSIS: https://wiki.crosswire.org/File_Formats
 */
import { join } from "node:path";
import { inflateSync } from "node:zlib";

/** One book, its verses in order, as plain text. */
export type Book = readonly string[];

const TESTAMENTS = ["ot", "nt"] as const;
const [BLOCK_ENTRY, VERSE_ENTRY] = [12, 10];

/** Books of a module that have verses. @param folder With the six files */
export async function readSwordBooks(folder: string): Promise<Book[]> {
  const testaments = await Promise.all(TESTAMENTS.map((name) => readTestament(join(folder, name))));
  return testaments.flat();
}

async function readTestament(path: string): Promise<Book[]> {
  const [starts, verses, packed] = [
    await Deno.readFile(`${path}.bzs`),
    await Deno.readFile(`${path}.bzv`),
    await Deno.readFile(`${path}.bzz`),
  ];
  const [blockView, verseView] = [new DataView(starts.buffer), new DataView(verses.buffer)];
  const blocks = Array.from({ length: starts.length / BLOCK_ENTRY }, (_, i) => {
    const [at, length] = [0, 4].map((field) => blockView.getUint32(i * BLOCK_ENTRY + field, true));
    return inflateSync(packed.subarray(at, (at as number) + (length as number)));
  });
  const books: string[][] = blocks.map(() => []);
  for (let at = 0; at < verses.length; at += VERSE_ENTRY) {
    const [block, start] = [verseView.getUint32(at, true), verseView.getUint32(at + 4, true)];
    const end = start + verseView.getUint16(at + 8, true);
    const text = plainText(new TextDecoder().decode(blocks[block]?.subarray(start, end)));
    if (text !== "") books[block]?.push(text);
  }
  return books.filter((book) => book.length > 0);
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** What OSIS says without its marks, titles and notes. */
export function plainText(osis: string): string {
  return osis
    .replace(/<(title|note)\b[^>]*(?<!\/)>.*?<\/\1>/gs, "")
    .replace(/<\/?transChange\b[^>]*>/g, " ") // words that a translation added stand without spaces
    .replace(/<[^>]*>/g, "")
    .replace(/&(\w+);/g, (entity, name: string) => ENTITIES[name] ?? entity)
    .replace(/\s+/g, " ")
    .replace(/ ([,.;:!?)])/g, "$1")
    .trim();
}
