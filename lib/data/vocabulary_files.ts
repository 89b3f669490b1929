// SPDX-License-Identifier: Apache-2.0
/** Vocabularies as older folders have them, put into a `tokenizer.json` that a class then makes its own. */

/**
 * A byte-level vocabulary with its merges, a pair a line.
 *
 * @param vocab Of `vocab.json`     @param merges Of `merges.txt`
 */
export function bytePairFile(vocab: Readonly<Record<string, unknown>>, merges: string): string {
  const pairs = lines(merges).filter((line) => line !== "" && !line.startsWith("#version"));
  return JSON.stringify({
    added_tokens: [],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab, merges: pairs.map((line) => line.split(" ")) },
  });
}

/** A vocabulary of words and pieces, one a line. */
export function wordPieceFile(words: string): string {
  const tokens = lines(words);
  if (tokens.at(-1) === "") tokens.pop();
  return JSON.stringify({
    added_tokens: [],
    model: {
      ...{
        type: "WordPiece",
        unk_token: "[UNK]",
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
      },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  });
}

function lines(text: string): string[] {
  return text.split("\n").map((line) => line.replace(/\r$/, ""));
}
