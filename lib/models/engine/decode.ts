// SPDX-License-Identifier: Apache-2.0
/** Decoding with remembered keys and values, several sequences at once. */
import { releasing } from "../../activations/policy.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";
import { asLmHead, logitsOf } from "../heads/lm.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import { type KeyValues, openStep, type SourceContext } from "../sublayers/context.ts";
import type { KvCache } from "./kv_cache.ts";
import { outputForward } from "./output.ts";
import { type StackPlace, stackPlaces, streamOf } from "./stacks.ts";

/**
 * Appends tokens to each sequence and gives the logits of its last one: the first call takes the prompts, later ones a
 * token each. A sequence given no tokens is left alone, and so is its row of logits.
 *
 * With dynamic rotary scaling and longrope, keys keep the rotation of the length they came with, as in transformers; so beyond
 * the model's full or original length decoding differs from one forward pass. Who wants keys made again begins the sequence
 * anew (`Rotary.renewsKeys`).
 *
 * @param ids One Int32Array a sequence
 * @returns (S,V) logits, overwritten by the next call
 * @mutates cache
 * @throws {RangeError} When a sequence outgrows the capacity, or an id is outside the vocabulary; when nothing was encoded for it
 */
export async function decodeStep(
  model: Model,
  cache: KvCache,
  ids: readonly Int32Array[],
  hooks: Hooks,
): Promise<Tensor> {
  const { kernels: k, parts } = model;
  const fresh = layOut(cache, ids, model.config.vocabSize);
  if (fresh.ids.length === 0) return cache.logits;
  await releasing(k, async () => {
    const step = openStep(model, fresh, hooks, {
      spans: fresh.spans,
      extend: (layer, rows) => extend(k, cache, layer, rows, fresh),
      source: rememberedSource(cache, fresh),
    });
    const place = stackPlaces(parts).at(-1) as StackPlace;
    const y = await streamOf(step, place, fresh);
    const { hidden } = outputForward(k, place.stack, lastRows(k, y, fresh.starts));
    const logits = logitsOf(k, asLmHead(parts.head), hidden);
    scatterRows(cache.logits, await k.read(logits.data), ids);
  });
  ids.forEach((tokens, s) => cache.lengths[s] = (cache.lengths[s] as number) + tokens.length);
  return cache.logits;
}

/** New tokens of all sequences, one after the other. */
interface FreshTokens {
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  /** (S+1) int32: new tokens of sequence s are [starts[s], starts[s+1]). */
  readonly starts: Int32Array;
  readonly spans: Int32Array;
}

function layOut(cache: KvCache, ids: readonly Int32Array[], vocabSize: number): FreshTokens {
  if (ids.length !== cache.sequences) {
    throw new RangeError(`${ids.length} sequences of tokens for a cache of ${cache.sequences}`);
  }
  const count = ids.reduce((sum, tokens) => sum + tokens.length, 0);
  const fresh = {
    ids: new Int32Array(count),
    positions: new Int32Array(count),
    starts: new Int32Array(ids.length + 1),
    spans: new Int32Array(4 * ids.length),
  };
  ids.forEach((tokens, s) => {
    const [begin, before] = [fresh.starts[s] as number, cache.lengths[s] as number];
    const [end, length] = [begin + tokens.length, before + tokens.length];
    if (length > cache.capacity) {
      throw new RangeError(`Sequence ${s} has ${length} tokens, the cache has room for ${cache.capacity}`);
    }
    if (!tokens.every((id) => id >= 0 && id < vocabSize)) {
      throw new RangeError(`Sequence ${s} has token ids outside the vocabulary of ${vocabSize}`);
    }
    fresh.ids.set(tokens, begin);
    for (let i = 0; i < tokens.length; i++) fresh.positions[begin + i] = before + i;
    fresh.starts[s + 1] = end;
    fresh.spans.set([begin, end, s * cache.capacity, s * cache.capacity + length], 4 * s);
  });
  return fresh;
}

/** What the new tokens see of their sources; undefined where there is no encoder. */
function rememberedSource({ source }: KvCache, { starts }: FreshTokens): SourceContext | undefined {
  if (source === null) return undefined;
  const { capacity, places, lengths, layers } = source;
  const spans = new Int32Array(4 * places.length);
  for (const [s, place] of places.entries()) {
    const [begin, end] = [starts[s] as number, starts[s + 1] as number];
    const length = lengths[place] as number;
    if (end > begin && length === 0) throw new RangeError(`Nothing was encoded for sequence ${s}`);
    spans.set([begin, end, place * capacity, place * capacity + length], 4 * s);
  }
  return { spans, hidden: null, gradient: null, remembered: (layer) => layers[layer] as KeyValues };
}

/** Copies new keys and values behind those of their sequences. @returns the whole layer's. @mutates cache */
function extend(
  k: Kernels,
  cache: KvCache,
  layer: number,
  rows: KeyValues,
  { starts }: FreshTokens,
): KeyValues {
  const all = cache.layers[layer] as KeyValues;
  const [, heads = 0, headDim = 0] = rows.keys.shape;
  const width = heads * headDim;
  for (let s = 0; s < cache.sequences; s++) {
    const [begin, end] = [starts[s] as number, starts[s + 1] as number];
    if (end === begin) continue;
    const to = (s * cache.capacity + (cache.lengths[s] as number)) * width;
    const place = [to, to + (end - begin) * width] as const;
    k.copy(all.keys.data.subarray(...place), rows.keys.data.subarray(begin * width, end * width));
    k.copy(all.values.data.subarray(...place), rows.values.data.subarray(begin * width, end * width));
  }
  return all;
}

/** The last new row of each sequence that has one, in the arena. */
function lastRows(k: Kernels, y: Tensor, starts: Int32Array): Tensor {
  const [, width = 0] = y.shape;
  const ends = starts.subarray(1).filter((end, s) => end > (starts[s] as number));
  const last = arenaTensor(k, [ends.length, width]);
  ends.forEach((end, i) => {
    const to = last.data.subarray(i * width, (i + 1) * width);
    k.copy(to, y.data.subarray((end - 1) * width, end * width));
  });
  return last;
}

/** @mutates to: the rows of sequences that had tokens */
function scatterRows(to: Tensor, from: Floats, ids: readonly Int32Array[]): void {
  const [, width = 0] = to.shape;
  let row = 0;
  ids.forEach((tokens, s) => {
    if (tokens.length === 0) return;
    to.data.set(from.subarray(row * width, (row + 1) * width), s * width);
    row++;
  });
}
