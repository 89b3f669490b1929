// SPDX-License-Identifier: Apache-2.0
/** The tokenizer that a model is opened with, and the tables that it needs for it: its folder's, an adapter's own, or with tokens added. */
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import { integer, type OptionsOf } from "../core/options.ts";
import { ADDED_TOKEN_OPTIONS, chosenTokens, withAddedTokens } from "../data/added_tokens.ts";
import { createTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { MissingTokenizerError, readTokenizerFiles, type TokenizerFiles } from "../data/tokenizer_files.ts";
import type { VocabularyChoice } from "../models/grow_vocabulary.ts";
import type { Model, ModelVocabulary } from "../models/model.ts";

/** What vocabulary a model is opened with. */
export const VOCABULARY_OPTIONS = {
  ...ADDED_TOKEN_OPTIONS,
  /** Of what the number of rows of the vocabulary's tables is a multiple. Default: any. */
  padVocabularyTo: integer({
    min: 1,
    max: 65_536, // a table that fits the machine, whatever is asked: kernels like 64 or 128
    help: "embedding and head have a multiple of this many rows",
    defaultText: "any number",
    identity: "vocabulary",
  }),
} as const;

/** Choices of {@linkcode openVocabulary}. */
export interface VocabularyOptions extends OptionsOf<typeof VOCABULARY_OPTIONS> {
  /** A saved adapter, whose vocabulary and tokenizer the model is to have where it brings its own. */
  readonly adapter?: SavedAdapter | null | undefined;
  /** Whether tables grow where the tokenizer has more tokens than they have rows. Default: where tokens are added. */
  readonly fitVocabulary?: boolean | undefined;
}

/** A tokenizer, and what it asks of the model. */
export interface OpenVocabulary {
  /** Or why there is none, which is told where it is asked for. */
  readonly tokenizer: Tokenizer | MissingTokenizerError;
  /** What the tables are to be. */
  readonly choice: VocabularyChoice;
  /** What makes the tokenizer, where it is another than that of the model's folder. */
  readonly own: TokenizerFiles | null;
  /** As it is saved beside an adapter; null without a tokenizer. */
  readonly files: TokenizerFiles | null;
  /** Tokens that were asked for. */
  readonly added: readonly number[];
}

/**
 * Opens the tokenizer of a model that is to be opened.
 *
 * @throws {MissingTokenizerError} When tokens are to be added to none
 * @throws {UserError} When a tokenizer is damaged, or a token cannot be added
 */
export async function openVocabulary(dir: string, options: VocabularyOptions): Promise<OpenVocabulary> {
  const { adapter, padVocabularyTo: multipleOf, fitVocabulary = false } = options;
  const tokens = await chosenTokens(options);
  const ownFolder = adapter?.tokenizer ?? null;
  const read = await tokenizerOf(ownFolder ?? dir, dir);
  if (read instanceof MissingTokenizerError && tokens.length > 0) throw read;
  const grown = read instanceof MissingTokenizerError
    ? null
    : await withAddedTokens(read.files, read.tokenizer, tokens);
  const rows = fitVocabulary || tokens.length > 0 ? grown?.tokenizer.vocabSize : undefined;
  const choice = {
    ...adapter?.vocabulary,
    ...(rows !== undefined && { rows }),
    ...(multipleOf !== undefined && { multipleOf }),
  };
  const isOther = ownFolder !== null || (grown !== null && "files" in read && grown.files !== read.files);
  return {
    tokenizer: grown?.tokenizer ?? read as MissingTokenizerError,
    choice,
    own: isOther ? grown?.files ?? null : null,
    files: grown?.files ?? null,
    added: grown?.ids ?? [],
  };
}

async function tokenizerOf(
  folder: string,
  model: string,
): Promise<{ readonly files: TokenizerFiles; readonly tokenizer: Tokenizer } | MissingTokenizerError> {
  try {
    const files = await readTokenizerFiles(folder, model);
    return { files, tokenizer: await createTokenizer(files, folder) };
  } catch (error) {
    if (error instanceof MissingTokenizerError) return error;
    throw error;
  }
}

/** What of a model's vocabulary is not its checkpoint's; absent where all of it is. */
export function vocabularyOf(
  { config, vocabulary }: Pick<Model, "config" | "vocabulary">,
  { own, files, added, choice, tokenizer }: OpenVocabulary,
): ModelVocabulary | undefined {
  if (vocabulary === undefined && own === null && added.length === 0) return undefined;
  const storedRows = vocabulary?.storedRows ?? config.vocabSize;
  const known = tokenizer instanceof Error ? null : tokenizer;
  const least = choice.tables === undefined ? known?.vocabSize ?? 0 : 0; // an adapter says what it has trained
  const made = vocabulary === undefined ? own : files;
  return {
    storedRows,
    tables: vocabulary?.tables ?? new Map(),
    added: [...new Set([...added, ...range(storedRows, Math.max(storedRows, least))])],
    tokenizer: known && made && { files: made, ...(known.className && { className: known.className }) },
  };
}

function range(begin: number, end: number): number[] {
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}
