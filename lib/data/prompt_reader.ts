// SPDX-License-Identifier: Apache-2.0
/** How what is asked becomes what a model is given. */
import type { FormatOptions } from "./format_options.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A prompt with the answers that count as right. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly answers: readonly string[];
}

/** Options of a prompt. */
export interface PromptOptions extends FormatOptions {
  /** Tokens of a prompt at most where those of training are cut: longer ones are cut likewise. */
  readonly seqLen?: number;
}

/** Makes prompts. */
export interface PromptReader {
  /** Whether a prompt is read apart from its answer, which then has room of its own. */
  readonly answersApart: boolean;
  /** Of words as they are typed. @throws {RowError} When there is nothing to ask */
  fromText(text: string, tokenizer: Tokenizer, options: PromptOptions): Promise<readonly number[]>;
  /** Of a line of data, with the answers that count as right. @throws {RowError} When it is no row, or has no answers */
  fromRow(text: string | null, tokenizer: Tokenizer, options: PromptOptions): Promise<Prompt>;
  /** Of a line that may lack its answers. @throws {RowError} When there is nothing to ask */
  fromQuestion(text: string | null, tokenizer: Tokenizer, options: PromptOptions): Promise<readonly number[]>;
}
