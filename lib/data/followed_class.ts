// SPDX-License-Identifier: Apache-2.0
/** What a tokenizer class of transformers does with a `tokenizer.json`. */

/** A JSON object. */
export type Json = Readonly<Record<string, unknown>>;

/** How a class makes a tokenizer; all fields are absent for the one that takes the file as it is. */
export interface TokenizerClass {
  readonly name: string;
  /** The parts it replaces. */
  readonly rebuild?: (json: Json, config: Json) => Json;
  /** Special tokens by role that it has where the configuration says nothing; null stands for none. */
  readonly defaults?: Readonly<Record<string, string | null>>;
  /** Further special tokens. */
  readonly extraTokens?: readonly string[];
  /** Adds all special tokens once more, plainly: without the flags that they were declared with. */
  readonly addsPlainly?: boolean;
  /**
   * What it puts around a text in place of the post-processor: nothing, the beginning-of-sequence token before it, or the
   * marks of BERT (`[CLS] A [SEP] B [SEP]`, B of another type), of RoBERTa (`<s> A </s></s> B </s>`, by the roles cls and sep)
   * or of XLM-R (the same by bos and eos).
   */
  readonly around?: "nothing" | "bos" | "bert" | "roberta" | "xlm-r";
  /** Where the token of a text's language stands, before it with the end behind it, or behind both. */
  readonly language?: "before" | "behind";
}

/** A class that is followed, with the kind of vocabulary it can read. */
export type FollowedClass = TokenizerClass & {
  readonly byteLevel: boolean;
  /** Default: BPE. */
  readonly model?: "WordPiece" | "Unigram";
};

/** Whether the parts put a space before a text. @param config Of `add_prefix_space`, absent and null stand for `otherwise` */
export function prefixSpace(config: Json, otherwise: boolean): boolean {
  return Boolean(config["add_prefix_space"] ?? otherwise);
}
