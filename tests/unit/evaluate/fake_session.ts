// SPDX-License-Identifier: Apache-2.0
/** A decoder session that continues texts by a rule, and a tokenizer of one id a character. */
import assert from "node:assert/strict";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import type { DecoderSession } from "../../../lib/evaluate/decoder_session.ts";

export const VOCAB_SIZE = 128;
/** Id 0 ends a text. */
export const END = 0;

/** Ids of a text: one a UTF-16 unit. */
export function charCodes(text: string): number[] {
  return Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

/** Ids are character codes. */
export const CHARACTERS: Tokenizer = {
  source: "characters",
  vocabSize: VOCAB_SIZE,
  bosId: null,
  eosId: END,
  padId: null,
  specialIds: new Set([END]),
  specialNames: {},
  prefixIds: [],
  suffixIds: [],
  pairIds: { prefix: [], middle: [], suffix: [], secondType: 0 },
  chatTemplate: null,
  encode: (text) => Promise.resolve(charCodes(text)),
  encodeBatch: (texts) =>
    Promise.resolve(texts.map((text) => {
      const ids = Int32Array.from(charCodes(text));
      return { ids, starts: ids.map((_, i) => i), ends: ids.map((_, i) => i + 1) };
    })),
  decode: (ids) => Array.from(ids, (id) => id === END ? "" : String.fromCharCode(id)).join(""),
  token: (id) => String.fromCharCode(id),
};

/** A session and what it was asked to do. */
export interface FakeSession extends DecoderSession {
  /** Sequences given tokens, for each call. */
  readonly calls: number[][];
  disposed: boolean;
}

/** @param continuation The character after a text; "" for the end */
export function fakeSession(
  sequences: number,
  capacity: number,
  continuation: (text: string) => string,
): FakeSession {
  const texts = Array.from({ length: sequences }, () => "");
  const calls: number[][] = [];
  const logits = new Float32Array(sequences * VOCAB_SIZE);
  return {
    sequences,
    vocabSize: VOCAB_SIZE,
    capacity,
    calls,
    disposed: false,
    append(ids) {
      calls.push(ids.flatMap((tokens, s) => tokens.length > 0 ? [s] : []));
      ids.forEach((tokens, s) => {
        if (tokens.length === 0) return;
        texts[s] += CHARACTERS.decode(tokens);
        assert((texts[s] as string).length <= capacity, "the session is never overfilled");
        const row = logits.subarray(s * VOCAB_SIZE, (s + 1) * VOCAB_SIZE).fill(-10);
        row[continuation(texts[s] as string).charCodeAt(0) || END] = 10;
      });
      return Promise.resolve(logits);
    },
    answerRoom: (promptLength) => capacity - promptLength,
    begin(s, prompt) {
      texts[s] = "";
      return prompt;
    },
    reorder(from) {
      const before = [...texts];
      from.forEach((source, s) => texts[s] = before[source] as string);
      return Promise.resolve();
    },
    [Symbol.dispose]() {
      this.disposed = true;
    },
  };
}
