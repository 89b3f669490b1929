// SPDX-License-Identifier: Apache-2.0
/** Tokenizers with a token for each language, as mBART's: which one goes around what is read, and around what is written. */
import { UserError } from "../core/errors.ts";
import { didYouMean } from "../core/suggestion.ts";
import type { PairIds } from "./tokenizer_json.ts";

/** What goes before a text, and after it. */
export interface AroundIds {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/** The languages that a tokenizer has tokens of. */
export interface Languages {
  /** Names by which they are chosen: `en_XX`. */
  readonly codes: readonly string[];
  /** The token of each. */
  readonly idOf: Readonly<Record<string, number>>;
  /** What goes around a text of one. */
  around(code: string): AroundIds;
}

/** Which languages are read and written. */
export interface LanguageChoice {
  /** Of what is read. */
  readonly srcLang?: string | undefined;
  /** Of what is written. */
  readonly tgtLang?: string | undefined;
}

/** What of a tokenizer depends on languages. */
export interface LanguageMarks {
  /** Where it was loaded from, for messages. */
  readonly source: string;
  /** Hash of all that decides its ids and texts, for what is kept on disk; nothing is kept without. */
  readonly identity?: string;
  /** What goes before a text: the beginning-of-sequence token, where the model was trained with one. */
  readonly prefixIds: readonly number[];
  /** What goes after it. */
  readonly suffixIds: readonly number[];
  /** What goes around two texts that belong together. */
  readonly pairIds: PairIds;
  /** What goes around a text that a decoder is to write, where that is not what goes around others. */
  readonly targetIds?: AroundIds;
  /** The token of the language that is written, where one is chosen: such decoders begin with it. */
  readonly targetLanguageId?: number;
  /** Tokens of languages, where it has some. */
  readonly languages?: Languages;
  /** Ids of a text. Names of special tokens inside it become those tokens. `special` adds the prefix and suffix. */
  encode(text: string, options?: { readonly special?: boolean }): Promise<number[]>;
}

/**
 * The tokenizer for two languages; itself where none is chosen.
 *
 * @throws {UserError} When it has no tokens of languages, or none of one that is chosen
 */
export function withLanguages<T extends LanguageMarks>(
  tokenizer: T,
  { srcLang, tgtLang }: LanguageChoice,
): T {
  if (srcLang === undefined && tgtLang === undefined) return tokenizer;
  const { languages, source } = tokenizer;
  if (languages === undefined) {
    throw new UserError(
      `The tokenizer of "${source}" has no tokens of languages: leave out the language ${srcLang ?? tgtLang}`,
    );
  }
  const ids = (code: string): AroundIds => {
    if (languages.codes.includes(code)) return languages.around(code);
    throw new UserError(
      `The tokenizer of "${source}" has no language "${code}"${
        didYouMean(code, languages.codes)
      } (there are: ${languages.codes.join(", ")})`,
    );
  };
  const read = srcLang === undefined
    ? { prefix: tokenizer.prefixIds, suffix: tokenizer.suffixIds }
    : ids(srcLang);
  return {
    ...tokenizer,
    ...(tokenizer.identity !== undefined && {
      identity: `${tokenizer.identity} ${srcLang ?? ""} ${tgtLang ?? ""}`,
    }),
    prefixIds: read.prefix,
    suffixIds: read.suffix,
    pairIds: { ...read, middle: [], secondType: 0 },
    ...(tgtLang !== undefined &&
      { targetIds: ids(tgtLang), targetLanguageId: languages.idOf[tgtLang] as number }),
    async encode(text: string, options: { readonly special?: boolean } = {}) {
      const own = await tokenizer.encode(text);
      return options.special === true ? [...read.prefix, ...own, ...read.suffix] : own;
    },
  };
}
