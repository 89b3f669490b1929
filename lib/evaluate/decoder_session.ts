// SPDX-License-Identifier: Apache-2.0
/** What generation needs of a model: tokens in, logits of the next one out, for several sequences at once. */
import { UserError } from "../core/errors.ts";
import { encodeSource } from "../models/engine/encode_source.ts";
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
  /** Tokens a sequence can have: prompt and answer together, or those of a decoder that answers what an encoder reads. */
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
  /** Tokens that a prompt may have where an encoder reads it. Default: the capacity. */
  readonly sourceCapacity?: number;
  /** What a decoder behind an encoder begins with. Default: the model's own start. */
  readonly startId?: number | undefined;
}

/**
 * Opens a session on a model, with a key-value cache. Where an encoder reads the prompts, its decoder's sequences hold the
 * answers alone. A sequence whose keys must be made again, as it outgrows what its rotary
 * embedding was made for, is given to the model once more as a whole.
 *
 * @throws {UserError} When nothing says with which token a decoder behind an encoder begins
 */
export function openDecoderSession(model: Model, options: SessionOptions): DecoderSession {
  const { sequences, capacity, hooks = {} } = options;
  const first = model.config.decoderIds && startOf(model, options);
  const cache = createKvCache(model, capacity, sequences, options.sourceCapacity);
  const waiting: Int32Array[] = Array.from({ length: sequences }, () => NONE);
  const renewal = Math.min(Infinity, ...Object.values(model.parts.rotary).map(renewalLength));
  let seen: Seen[] = Array.from({ length: sequences }, () => ({ prompt: 0, ids: [] }));
  let prompts = 0;
  const renewed = (ids: readonly Int32Array[]): readonly Int32Array[] =>
    ids.map((tokens, s) => {
      const before = cache.lengths[s] as number;
      if (before === 0 || before > renewal || before + tokens.length <= renewal) return tokens;
      cache.lengths[s] = 0;
      return Int32Array.from([...(seen[s] as Seen).ids, ...tokens]);
    });
  return {
    sequences,
    vocabSize: model.config.vocabSize,
    capacity,
    append: async (ids) => {
      if (waiting.some((source) => source.length > 0)) {
        await encodeSource(model, cache, waiting, hooks);
        waiting.fill(NONE);
      }
      const { data } = await decodeStep(model, cache, renewed(ids), hooks);
      ids.forEach((tokens, s) => {
        for (const id of tokens) (seen[s] as Seen).ids.push(id);
      });
      return data;
    },
    answerRoom: (promptLength) => capacity - (first === undefined ? promptLength : 1),
    begin: (sequence, prompt) => {
      cache.lengths[sequence] = 0;
      seen[sequence] = { prompt: ++prompts, ids: [] };
      if (first === undefined) return prompt;
      waiting[sequence] = Int32Array.from(prompt);
      return [first];
    },
    reorder: async (from) => {
      const shared = from.map((source, s) => sharedLength(seen[s] as Seen, seen[source] as Seen));
      await reorderCache(model.kernels, cache, from, shared);
      seen = Array.from(
        from,
        (source) => ({ ...seen[source] as Seen, ids: [...(seen[source] as Seen).ids] }),
      );
    },
    [Symbol.dispose]: () => cache[Symbol.dispose](),
  };
}

const NONE = new Int32Array(0);

function startOf({ dir, config: { decoderIds } }: Model, { startId }: SessionOptions): number {
  const start = startId ?? decoderIds?.startTokenId;
  if (typeof start === "number") return start;
  throw new UserError(
    `${dir} does not say with which token its decoder begins: choose the language that is written with --tgt-lang, or name ` +
      `decoder_start_token_id in generation_config.json`,
  );
}

/** What a sequence has been given. */
interface Seen {
  /** Which prompt it answers, by a number of its own. */
  readonly prompt: number;
  readonly ids: number[];
}

/** Leading tokens whose keys and values two sequences have in common: those of one prompt that are the same. */
function sharedLength(a: Seen, b: Seen): number {
  if (a.prompt !== b.prompt) return 0;
  const most = Math.min(a.ids.length, b.ids.length);
  let length = 0;
  while (length < most && a.ids[length] === b.ids[length]) length++;
  return length;
}
