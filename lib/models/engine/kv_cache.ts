// SPDX-License-Identifier: Apache-2.0
/** What decoding remembers of each sequence: keys and values of its own tokens, and of what an encoder made of its source. */
import { account } from "../../native/ledger.ts";
import { type Activation, numel, type Tensor } from "../../tensor/tensor.ts";
import { asLmHead } from "../heads/lm.ts";
import { assertPredictsNext } from "../heads/sees_ahead.ts";
import type { Model } from "../model.ts";
import { keyShapes } from "../parts.ts";
import type { KeyValues } from "../sublayers/context.ts";

/** What attention to another stack sees of it, for S sequences of a cache. */
export interface SourceCache {
  /** Tokens that a source can have. */
  readonly capacity: number;
  /** (S) int32: in which place the source of each sequence lies. Sequences that go on from one another share it. */
  readonly places: Int32Array;
  /** (S) int32: tokens of the source in each place. */
  readonly lengths: Int32Array;
  /** By layer, (S*capacity,Hkv,Dh): place p has rows [p*capacity, p*capacity + lengths[p]). */
  readonly layers: readonly KeyValues[];
}

/** Keys and values of S sequences, room for `capacity` tokens each. Use with `using`. */
export interface KvCache extends Disposable {
  readonly capacity: number;
  readonly sequences: number;
  /** (S) int32: tokens remembered of each sequence. Set one to 0 to begin it anew, or lower to take back tokens. */
  readonly lengths: Int32Array;
  /** By layer, (S*capacity,Hkv,Dh): sequence s has rows [s*capacity, s*capacity + lengths[s]). */
  readonly layers: readonly KeyValues[];
  /** Of an encoder's output; null where there is none. */
  readonly source: SourceCache | null;
  /** (S,V): what `decodeStep` returns. */
  readonly logits: Tensor;
}

/**
 * Room for decoding.
 *
 * @param capacity Tokens a sequence can have, prompt and answer together
 * @param sourceCapacity Tokens that a source can have, where an encoder reads one
 * @mutates model.kernels.ledger: "cache" and "logits" until the cache is disposed
 */
export function createKvCache(
  model: Model,
  capacity: number,
  sequences = 1,
  sourceCapacity = capacity,
): KvCache {
  const { kernels: k, parts } = model;
  assertPredictsNext(parts, parts.head);
  const layersOf = (rows: number, kind: "attention" | "cross-attention"): KeyValues[] =>
    keyShapes(parts, rows, kind).map((shape) => {
      const room = (): Activation => ({ shape, data: k.modelActivations(numel(shape), "cache") });
      return { keys: room(), values: room() };
    });
  const layers = layersOf(sequences * capacity, "attention");
  const source = parts.stacks.length === 1 ? null : {
    capacity: sourceCapacity,
    places: Int32Array.from({ length: sequences }, (_, s) => s),
    lengths: new Int32Array(sequences),
    layers: layersOf(sequences * sourceCapacity, "cross-attention"),
  };
  const all = [...layers, ...source?.layers ?? []];
  const vocabSize = asLmHead(parts.head).weight.rows;
  const logits = { shape: [sequences, vocabSize], data: k.floats(sequences * vocabSize) };
  const cacheBytes = all.reduce(
    (sum, { keys, values }) => sum + keys.data.byteLength + values.data.byteLength,
    0,
  );
  let open = true;
  account(k.ledger, "cache", cacheBytes);
  account(k.ledger, "logits", logits.data.byteLength);
  return {
    capacity,
    sequences,
    lengths: new Int32Array(sequences),
    layers,
    source,
    logits,
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      for (const { keys, values } of all) {
        [keys, values].forEach(({ data }) => k.device?.release(data.buffer));
      }
      account(k.ledger, "cache", -cacheBytes);
      account(k.ledger, "logits", -logits.data.byteLength);
    },
  };
}
