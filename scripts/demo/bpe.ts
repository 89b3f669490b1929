// SPDX-License-Identifier: Apache-2.0
/**
 * Trains a byte-level BPE vocabulary and writes it as a Hugging Face `tokenizer.json`. Small on purpose: the demo's
 * corpus has a few thousand distinct words. (No npm package trains tokenizers; the product only ever loads them.)
 */

/** Splits text as GPT-2 does: a word keeps the blank before it. */
const WORD = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's map from bytes to printable characters. */
function byteAlphabet(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

interface Word {
  symbols: string[];
  readonly count: number;
}

function countWords(texts: Iterable<string>, alphabet: readonly string[]): Word[] {
  const encoder = new TextEncoder();
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(WORD)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([word, count]) => ({
    symbols: [...encoder.encode(word)].map((byte) => alphabet[byte] as string),
    count,
  }));
}

/** The most frequent neighbouring pair; ties go to the pair that sorts first, so that the result is one. */
function bestPair(words: readonly Word[]): [string, string] | null {
  const counts = new Map<string, number>();
  for (const { symbols, count } of words) {
    for (let i = 0; i + 1 < symbols.length; i++) {
      const pair = `${symbols[i]} ${symbols[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: string | null = null;
  for (const [pair, count] of counts) {
    const bestCount = best === null ? 1 : counts.get(best) as number;
    if (count > bestCount || (best !== null && count === bestCount && pair < best)) best = pair;
  }
  return best === null ? null : best.split(" ") as [string, string];
}

function merge(words: readonly Word[], left: string, right: string): void {
  for (const word of words) {
    if (!word.symbols.includes(left)) continue;
    const merged: string[] = [];
    for (let i = 0; i < word.symbols.length; i++) {
      const joins = word.symbols[i] === left && word.symbols[i + 1] === right;
      merged.push(joins ? left + right : word.symbols[i] as string);
      if (joins) i++;
    }
    word.symbols = merged;
  }
}

/**
 * Trains on the texts and returns the content of `tokenizer.json`: ids 0 and 1 are `<s>` and `</s>`, then the 256 bytes,
 * then merges up to the vocabulary size.
 */
export function trainTokenizer(texts: Iterable<string>, vocabularySize: number): Record<string, unknown> {
  const alphabet = byteAlphabet();
  const words = countWords(texts, alphabet);
  const tokens = ["<s>", "</s>", ...alphabet];
  const merges: [string, string][] = [];
  while (tokens.length < vocabularySize) {
    const pair = bestPair(words);
    if (pair === null) break;
    merges.push(pair);
    tokens.push(pair.join(""));
    merge(words, ...pair);
  }
  const special = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [special(0, "<s>"), special(1, "</s>")],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
    },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}
