// SPDX-License-Identifier: Apache-2.0
/** What generation needs of a model: tokens in, logits of the next one out, for several sequences at once. */
import type { Hooks } from "../models/hooks.ts";
import { createKvCache, decodeStep } from "../models/engine/decode.ts";
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
  /** Empties a sequence for another prompt. */
  restart(sequence: number): void;
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
  const seen: number[][] = Array.from({ length: options.sequences }, () => []);
  const renewed = (ids: readonly Int32Array[]): readonly Int32Array[] =>
    ids.map((tokens, s) => {
      const before = cache.lengths[s] as number;
      const all = seen[s] = [...(seen[s] as number[]).slice(0, before), ...tokens];
      if (before === 0 || before > renewal || all.length <= renewal) return tokens;
      cache.lengths[s] = 0;
      return Int32Array.from(all);
    });
  return {
    sequences: options.sequences,
    vocabSize: model.config.vocabSize,
    capacity: options.capacity,
    append: async (ids) => {
      const given = renewal < Infinity ? renewed(ids) : ids;
      return (await decodeStep(model, cache, given, options.hooks ?? {})).data;
    },
    restart: (sequence) => {
      cache.lengths[sequence] = 0;
    },
    [Symbol.dispose]: () => cache[Symbol.dispose](),
  };
}
