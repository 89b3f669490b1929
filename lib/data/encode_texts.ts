// SPDX-License-Identifier: Apache-2.0
/** From texts with targets to token ids with a mask. */
import { UserError } from "../core/errors.ts";
import type { ChatText } from "./chat_turns.ts";
import type { FormattedText } from "./formats.ts";
import type { Segment } from "./plain_formats.ts";
import type { RowWarning } from "./row_warnings.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Encoding } from "./tokenizer_library.ts";

/** n tokens. */
export interface EncodedText {
  /** (n). */
  readonly ids: Int32Array;
  /** (n): 1 where the token is a target. */
  readonly lossMask: Uint8Array;
  readonly warnings: readonly RowWarning[];
}

/**
 * Encodes texts, all at once.
 *
 * What a chat template wrote is encoded whole, without special tokens around it: the ids that `apply_chat_template` of
 * transformers gives. A token is a target when one of its characters is, except where that would take in what another
 * role said: there the text is encoded in two.
 *
 * Of the plain forms, tokens before a boundary are those of the text before it alone, as generation starts from the
 * encoded prompt. Encoding the whole gives them unless a token straddles the boundary ("Answer: " + "Paris" as "Answer", ":",
 * " Paris"): there the completion is encoded apart, in the form that it has inside a text.
 *
 * @throws {UserError} When a plain form needs an end-of-sequence token that the tokenizer has not
 */
export async function encodeTexts(
  texts: readonly FormattedText[],
  tokenizer: Tokenizer,
): Promise<EncodedText[]> {
  const requests = texts.map(requestsOf);
  const encodings = await tokenizer.encodeBatch(requests.flat());
  let next = 0;
  return await Promise.all(texts.map((text, i) => {
    const own = encodings.slice(next, next += (requests[i] as readonly string[]).length);
    if (text.kind === "plain") return assemblePlain(text.segments, own, tokenizer);
    return assembleTemplate(text.chat, own[0] as Encoding, tokenizer);
  }));
}

function requestsOf(text: FormattedText): string[] {
  if (text.kind === "template") return [text.chat.text];
  return completions(text.segments).flatMap(({ before, answer }) =>
    answer === null ? [before] : [before, before + answer]
  );
}

/** A completion with what stands before it; the last may be missing. */
interface Completion {
  readonly before: string;
  readonly answer: string | null;
}

function completions(segments: readonly Segment[]): Completion[] {
  const list: Completion[] = [];
  let before = "";
  for (const { text, loss } of segments) {
    if (!loss) before += text;
    else {
      list.push({ before, answer: text });
      before = "";
    }
  }
  if (before !== "") list.push({ before, answer: null });
  return list;
}

async function assembleTemplate(chat: ChatText, whole: Encoding, tokenizer: Tokenizer): Promise<EncodedText> {
  const takesInSaid = saidTaker(whole);
  const apart = chat.targets.filter(({ span: [start], saidEnd }) => takesInSaid(start, saidEnd));
  const encoding = apart.length === 0
    ? whole
    : await encodePieces(chat.text, apart.map(({ span: [start] }) => start), tokenizer);
  const { lossMask, endless, inside } = markTargets(chat, encoding, tokenizer);
  const warnings: RowWarning[] = [];
  if (endless > 0) warnings.push({ kind: "no end", count: endless });
  if (inside > 0) warnings.push({ kind: "split token", count: inside });
  return dropDoubled({ ids: encoding.ids, lossMask, warnings }, tokenizer);
}

/** Tells whether a token at a boundary has characters that another role said before it, without looking at all tokens. */
function saidTaker({ starts, ends }: Encoding): (boundary: number, saidEnd: number) => boolean {
  let reach = 0;
  const reaches = ends.map((end) => reach = Math.max(reach, end)); // ends go back where added tokens share white space
  return (boundary, saidEnd) => {
    const limit = Math.min(saidEnd, boundary);
    let [low, high] = [0, starts.length]; // of the first token that starts at the limit or beyond it
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((starts[middle] as number) >= limit) high = middle;
      else low = middle + 1;
    }
    return low > 0 && (reaches[low - 1] as number) > boundary;
  };
}

/** A text encoded in pieces, each as it would be in the middle of a text. */
async function encodePieces(text: string, cuts: readonly number[], tokenizer: Tokenizer): Promise<Encoding> {
  const bounds = [0, ...cuts, text.length];
  const pieces = await Promise.all(
    bounds.slice(1).map(async (end, n) => {
      const start = bounds[n] as number;
      const piece = text.slice(start, end);
      const { ids, starts, ends } = n === 0
        ? (await tokenizer.encodeBatch([piece]))[0] as Encoding
        : await encodeInside(piece, tokenizer);
      return { ids, starts: starts.map((at) => at + start), ends: ends.map((at) => at + start) };
    }),
  );
  const joined = (part: keyof Encoding) => Int32Array.from(pieces.flatMap((piece) => [...piece[part]]));
  return { ids: joined("ids"), starts: joined("starts"), ends: joined("ends") };
}

/** The mask, how many targets end without a special token, and how many begin inside a token. */
function markTargets(
  { targets }: ChatText,
  { ids, starts, ends }: Encoding,
  { specialIds }: Tokenizer,
): { lossMask: Uint8Array; endless: number; inside: number } {
  const lossMask = new Uint8Array(ids.length);
  let [endless, inside, token] = [0, 0, 0];
  for (const { span: [start, end] } of targets) {
    const reaches = (at: number): boolean =>
      (ends[at] as number) > start || ((starts[at] as number) >= start && ends[at] === starts[at]);
    while (token < ids.length && !reaches(token)) token++;
    if (token < ids.length && (starts[token] as number) < start) inside++;
    for (; token < ids.length && (starts[token] as number) < end; token++) lossMask[token] = 1;
    if (token === 0 || !specialIds.has(ids[token - 1] as number)) endless++;
  }
  return { lossMask, endless, inside };
}

/** Special tokens that data and template (or format) both wrote are there once: the beginning, and the end of an answer. */
function dropDoubled({ ids, lossMask, warnings }: EncodedText, tokenizer: Tokenizer): EncodedText {
  const { bosId, specialIds } = tokenizer;
  const start = bosId !== null && ids[0] === bosId && ids[1] === bosId;
  const doubled = (at: number): boolean =>
    at > 0 && lossMask[at] === 1 && lossMask[at - 1] === 1 && lossMask[at + 1] !== 1 &&
    ids[at] === ids[at - 1] &&
    specialIds.has(ids[at] as number);
  const ends = ids.reduce((count, _, at) => count + (doubled(at) ? 1 : 0), 0);
  if (!start && ends === 0) return { ids, lossMask, warnings };
  const kept = (_: number, at: number): boolean => !(start && at === 0) && !doubled(at);
  return {
    ids: ids.filter(kept),
    lossMask: lossMask.filter(kept),
    warnings: [
      ...warnings,
      ...(start ? [{ kind: "doubled start" } as const] : []),
      ...(ends > 0 ? [{ kind: "doubled end", count: ends } as const] : []),
    ],
  };
}

async function assemblePlain(
  segments: readonly Segment[],
  encodings: readonly Encoding[],
  tokenizer: Tokenizer,
): Promise<EncodedText> {
  const [ids, lossMask, warnings]: [number[], number[], RowWarning[]] = [[], [], []];
  let next = 0;
  const push = (added: Iterable<number>, loss: 0 | 1): void => {
    for (const id of added) {
      ids.push(id);
      lossMask.push(loss);
    }
  };
  for (const { answer } of completions(segments)) {
    const before = (encodings[next++] as Encoding).ids;
    push(before, 0);
    if (answer === null) break;
    const whole = (encodings[next++] as Encoding).ids;
    const continues = before.every((id, i) => whole[i] === id);
    push(continues ? whole.subarray(before.length) : (await encodeInside(answer, tokenizer)).ids, 1);
    const end = endOfSequence(tokenizer);
    if (ids.at(-1) === end && lossMask.at(-1) === 1) warnings.push({ kind: "doubled end" });
    else push([end], 1);
  }
  const { prefixIds } = tokenizer;
  const begun = prefixIds.length > 0 && prefixIds.every((id, i) => ids[i] === id);
  if (begun) warnings.push({ kind: "doubled start" });
  const prefix = begun ? [] : prefixIds;
  return {
    ids: Int32Array.from([...prefix, ...ids]),
    lossMask: Uint8Array.from([...prefix.map(() => 0), ...lossMask]),
    warnings,
  };
}

/** Texts that a tokenizer seldom joins with what follows. */
const ANCHORS = ["\n", ".", "a", "1"];

/** Tokens of a text as it would be in the middle of another one: encoded after an anchor whose tokens stay apart. */
async function encodeInside(text: string, tokenizer: Tokenizer): Promise<Encoding> {
  for (const anchor of ANCHORS) {
    const [before, joint] = await tokenizer.encodeBatch([anchor, anchor + text]) as [Encoding, Encoding];
    const { length } = before.ids;
    if (!before.ids.every((id, i) => joint.ids[i] === id)) continue;
    return {
      ids: joint.ids.subarray(length),
      starts: joint.starts.subarray(length).map((at) => at - anchor.length),
      ends: joint.ends.subarray(length).map((at) => at - anchor.length),
    };
  }
  return (await tokenizer.encodeBatch([text]))[0] as Encoding;
}

function endOfSequence(tokenizer: Tokenizer): number {
  if (tokenizer.eosId !== null) return tokenizer.eosId;
  throw new UserError(
    `The tokenizer of "${tokenizer.source}" names no eos_token, so completions could not be ended; ` +
      `set eos_token in tokenizer_config.json`,
  );
}
