// SPDX-License-Identifier: Apache-2.0
/** What generation needs of a model: tokens in, logits of the next one out, for several sequences at once. */
import type { Hooks } from "../models/hooks.ts";
import { decodeStep } from "../models/engine/decode.ts";
import { createKvCache } from "../models/engine/kv_cache.ts";
import { reorderCache } from "../models/engine/reorder_cache.ts";
import type { Model } from "../models/model.ts";
import { renewalLength } from "../models/rope.ts";
import type { Floats } from "../tensor/tensor.ts";

/** S sequences that grow, each at its own pace. Use with `using`. */
export interface DecoderSession extends Disposable {
  readonly sequences: number;
  readonly vocabSize: number;
  /** Tokens a sequence can have, prompt and answer together. */
  readonly capacity: number;
  /**
   * Appends tokens to each sequence.
   *
   * @param ids One array a sequence; a sequence given none is left alone
   * @returns (S,V) logits of what follows each sequence's last token, valid until the next call
   */
  append(ids: readonly Int32Array[]): Promise<Floats>;
  /** Tokens that the answer to a prompt may have, given its length. */
  answerRoom(promptLength: number): number;
  /**
   * Empties a sequence for another prompt.
   *
   * @returns What is to be appended first: tokens that the answer goes on from
   */
  begin(sequence: number, prompt: readonly number[]): readonly number[];
  /** Makes each sequence s a copy of what sequence `from[s]` was, all at once. */
  reorder(from: Int32Array): Promise<void>;
}

/** Size of a session. */
export interface SessionOptions {
  readonly sequences: number;
  readonly capacity: number;
  /** The adapter, where there is one. */
  readonly hooks?: Hooks;
}

/**
 * Opens a session on a model, with a key-value cache. A sequence whose keys must be made again, as it outgrows what its rotary
 * embedding was made for, is given to the model once more as a whole.
 */
export function openDecoderSession(model: Model, options: SessionOptions): DecoderSession {
  const cache = createKvCache(model, options.capacity, options.sequences);
  const renewal = Math.min(Infinity, ...Object.values(model.parts.rotary).map(renewalLength));
  let seen: number[][] = Array.from({ length: options.sequences }, () => []);
  const renewed = (ids: readonly Int32Array[]): readonly Int32Array[] =>
    ids.map((tokens, s) => {
      const before = cache.lengths[s] as number;
      if (before === 0 || before > renewal || before + tokens.length <= renewal) return tokens;
      cache.lengths[s] = 0;
      return Int32Array.from([...seen[s] as number[], ...tokens]);
    });
  return {
    sequences: options.sequences,
    vocabSize: model.config.vocabSize,
    capacity: options.capacity,
    append: async (ids) => {
      const { data } = await decodeStep(model, cache, renewed(ids), options.hooks ?? {});
      ids.forEach((tokens, s) => {
        for (const id of tokens) (seen[s] as number[]).push(id);
      });
      return data;
    },
    answerRoom: (promptLength) => options.capacity - promptLength,
    begin: (sequence, prompt) => {
      cache.lengths[sequence] = 0;
      seen[sequence] = [];
      return prompt;
    },
    reorder: async (from) => {
      const shared = from.map((source, s) => sharedLength(seen[s] as number[], seen[source] ?? []));
      await reorderCache(model.kernels, cache, from, shared);
      seen = Array.from(from, (source) => [...seen[source] as number[]]);
    },
    [Symbol.dispose]: () => cache[Symbol.dispose](),
  };
}

/** Leading tokens that two sequences have in common. Of one prompt's beams their keys and values are then the same. */
function sharedLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
