// SPDX-License-Identifier: Apache-2.0
/** The two tiny tokenizers of tests/fixtures, and data files made on the spot. */
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { ChatMessage } from "../../../lib/data/chat_message.ts";
import { loadTokenizer, type Tokenizer } from "../../../lib/data/tokenizer.ts";

export const TOKENIZER_NAMES = ["byte_level", "metaspace"] as const;
export type TokenizerName = typeof TOKENIZER_NAMES[number];

/** What transformers said when the fixture was made. */
export interface Expected {
  readonly texts: { text: string; ids: number[]; specialIds: number[]; decoded: string }[];
  readonly chats: { messages: ChatMessage[]; rendered: string; prompt: string; ids: number[] }[];
}

export function fixtureFolder(name: TokenizerName): string {
  return new URL(`../../fixtures/tokenizers/${name}`, import.meta.url).pathname;
}

export function fixtureTokenizer(name: TokenizerName): Promise<Tokenizer> {
  return loadTokenizer(fixtureFolder(name));
}

export async function fixtureExpected(name: TokenizerName): Promise<Expected> {
  return JSON.parse(await Deno.readTextFile(join(fixtureFolder(name), "expected.json")));
}

/** Runs with a file of these lines (objects are written as JSON), then removes it. */
export async function withLines<T>(lines: readonly unknown[], use: (path: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "rows.jsonl");
    const text = lines.map((line) => typeof line === "string" ? line : JSON.stringify(line));
    await Deno.writeTextFile(path, text.join("\n"));
    return await use(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A value of tests/fixtures that is kept as packed JSON. */
export async function readPacked<T>(name: string): Promise<T> {
  const bytes = await Deno.readFile(new URL(`../../fixtures/${name}`, import.meta.url));
  return JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(gunzipSync(bytes)));
}
