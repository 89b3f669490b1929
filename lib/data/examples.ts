// SPDX-License-Identifier: Apache-2.0
/** From a row to token ids with a mask of those that are targets. */
import { UserError } from "../core/errors.ts";
import type { Segment } from "./chat_format.ts";
import { compileChatTemplate } from "./chat_template.ts";
import type { FormatOptions } from "./format_options.ts";
import { formatRow } from "./formats.ts";
import { type Row, RowError } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How rows become training examples. */
export interface ExampleOptions extends FormatOptions {
  /** Longest example in tokens; the rest is cut off at the end. */
  readonly seqLen: number;
  /** Which tokens are targets; the first token of an example never is. Default "completion". */
  readonly lossOn?: "completion" | "all";
}

/** One training example of n tokens. */
export interface Example {
  /** (n). */
  readonly ids: readonly number[];
  /** (n): 1 where the token is a target. Element 0 is always 0. */
  readonly lossMask: readonly number[];
  /** Tokens cut off at the end to keep to seqLen. */
  readonly cutTokens: number;
}

/** A prompt with the answers that count as right. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly answers: readonly string[];
}

/**
 * A row as a training example. Tokens after the last target are left out: nothing would learn from them.
 *
 * @throws {RowError} When the chat template refuses the row, or cutting to seqLen leaves no target
 * @throws {UserError} When a plain form needs an end-of-sequence token that the tokenizer has not
 */
export async function buildExample(
  row: Row,
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Promise<Example> {
  const formatted = formatRow(row, templateOf(tokenizer, options));
  const { ids, lossMask } = await encodeSegments(formatted.segments, tokenizer, formatted.plain);
  if (options.lossOn === "all") lossMask.fill(1);
  lossMask[0] = 0;
  const length = lossMask.lastIndexOf(1) + 1;
  const kept = Math.min(length, options.seqLen);
  const first = lossMask.indexOf(1);
  if (first < 0 || first >= kept) {
    throw new RowError(
      first < 0 ? "empty" : "over-long",
      first < 0
        ? "the row has no token to predict"
        : `the prompt takes ${first} of ${length} tokens, so cutting at the sequence length of ${options.seqLen} would ` +
          `leave nothing to learn`,
    );
  }
  return { ids: ids.slice(0, kept), lossMask: lossMask.slice(0, kept), cutTokens: length - kept };
}

/**
 * The start of a row's example up to its last completion, for generation. Token for token what the model saw in
 * training before that completion.
 *
 * @throws {RowError} When the row is a `{text}` row or the chat template refuses it
 * @throws {UserError} As {@linkcode buildExample}
 */
export async function buildPrompt(
  row: Row,
  tokenizer: Tokenizer,
  options: FormatOptions = {},
): Promise<Prompt> {
  if (row.kind === "text") {
    throw new RowError("unknown shape", "a {text} row has no prompt and no answer to score");
  }
  const { prompt, answers, plain } = formatRow(row, templateOf(tokenizer, options));
  return { ids: (await encodeSegments(prompt, tokenizer, plain)).ids, answers };
}

/** A user's words as the start of generation, in the form of a `{prompt, completion}` row. */
export async function promptFromText(
  text: string,
  tokenizer: Tokenizer,
  options: FormatOptions = {},
): Promise<number[]> {
  return [...(await buildPrompt({ kind: "prompt", prompt: text, completion: "a" }, tokenizer, options)).ids];
}

/**
 * Ids that end an answer: the model's own, the tokenizer's, and the token that the chat template puts after an
 * assistant turn (base models often name another end of sequence).
 */
export async function stopIds(
  tokenizer: Tokenizer,
  modelEosIds: readonly number[],
  options: FormatOptions = {},
): Promise<Set<number>> {
  const ids = new Set(modelEosIds);
  if (tokenizer.eosId !== null) ids.add(tokenizer.eosId);
  if (templateOf(tokenizer, options) !== null) {
    const { ids: turn, lossMask } = await buildExample(
      { kind: "prompt", prompt: "a", completion: "a" },
      tokenizer,
      { ...options, seqLen: Number.MAX_SAFE_INTEGER },
    );
    const last = turn.at(-1) as number;
    if (lossMask.at(-1) === 1 && tokenizer.specialIds.has(last)) ids.add(last);
  }
  return ids;
}

function templateOf(tokenizer: Tokenizer, options: FormatOptions): Tokenizer["chatTemplate"] {
  const { chatTemplate = "auto" } = options;
  if (chatTemplate === "off") return null;
  if (chatTemplate === "auto") return tokenizer.chatTemplate;
  return compileChatTemplate(chatTemplate.jinja, tokenizer.specialNames, chatTemplate.name);
}

/**
 * Encodes segments such that the tokens before each boundary are those of the text before it alone.
 *
 * Generation starts from the encoded prompt, so training must see the very same prompt tokens. Encoding the whole text
 * gives them unless a token straddles the boundary ("Answer: " + "Paris" as "Answer", ":", " Paris"). There the
 * segments are encoded apart: the prompt keeps its own tokens, and the completion goes on from them in the form it has
 * inside a text, without the space that some tokenizers put before a text.
 */
async function encodeSegments(
  segments: readonly Segment[],
  tokenizer: Tokenizer,
  withPrefix: boolean,
): Promise<{ ids: number[]; lossMask: number[] }> {
  const ids: number[] = withPrefix ? [...tokenizer.prefixIds] : [];
  const lossMask: number[] = ids.map(() => 0);
  let [openText, openIds, encode]: [string, readonly number[], (text: string) => Promise<number[]>] = [
    "",
    [],
    tokenizer.encode,
  ];
  for (const { text, loss, endsTurn } of segments) {
    openText += text;
    const whole = await encode(openText);
    let added = whole.slice(openIds.length);
    if (openIds.every((id, i) => whole[i] === id)) openIds = whole;
    else {
      encode = (inside) => encodeInside(inside, tokenizer);
      [added, openText] = [await encode(text), text];
      openIds = added;
    }
    for (const id of added) {
      ids.push(id);
      lossMask.push(loss ? 1 : 0);
    }
    if (endsTurn) {
      ids.push(endOfSequence(tokenizer));
      lossMask.push(1);
      [openText, openIds, encode] = ["", [], tokenizer.encode];
    }
  }
  return { ids, lossMask };
}

/** Texts that a tokenizer seldom joins with what follows. */
const ANCHORS = ["\n", ".", "a", "1"];

/** Tokens of a text as it would be in the middle of another one: encoded after an anchor whose tokens stay apart. */
async function encodeInside(text: string, tokenizer: Tokenizer): Promise<number[]> {
  for (const anchor of ANCHORS) {
    const before = await tokenizer.encode(anchor);
    const joint = await tokenizer.encode(anchor + text);
    if (before.every((id, i) => joint[i] === id)) return joint.slice(before.length);
  }
  return tokenizer.encode(text);
}

function endOfSequence(tokenizer: Tokenizer): number {
  if (tokenizer.eosId !== null) return tokenizer.eosId;
  throw new UserError(
    `The tokenizer of "${tokenizer.source}" names no eos_token, so completions could not be ended; ` +
      `set eos_token in tokenizer_config.json`,
  );
}
