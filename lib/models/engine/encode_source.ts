// SPDX-License-Identifier: Apache-2.0
/** Encoding for decoding: what a decoder sees of its sources, once for all tokens that it writes. */
import { releasing } from "../../activations/policy.ts";
import { assertInteger } from "../../core/shape.ts";
import { selfSpans } from "../../ops/attention.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import { partOf } from "../parts.ts";
import { type KeyValues, openStep } from "../sublayers/context.ts";
import { sourceKeys } from "../sublayers/cross_attention.ts";
import type { KvCache, SourceCache } from "./kv_cache.ts";
import { outputForward } from "./output.ts";
import { type StackPlace, stackPlaces, streamOf } from "./stacks.ts";

/**
 * Encodes what sequences are to be written from, and remembers the keys and values that each layer sees of it.
 *
 * @param sources One Int32Array a sequence; one that is given no tokens keeps its source, and those that share that keep it too
 * @mutates cache
 * @throws {RangeError} When the model has no encoder, a source outgrows the capacity or an id is outside the vocabulary
 */
export async function encodeSource(
  model: Model,
  cache: KvCache,
  sources: readonly Int32Array[],
  hooks: Hooks,
): Promise<void> {
  const { kernels: k, parts } = model;
  const { source } = cache;
  if (source === null) throw new RangeError("The model has no encoder that could read a source");
  const given = laidOut(source, sources, model.config.vocabSize);
  if (given.ids.length === 0) return;
  const places = freePlaces(source, sources);
  await releasing(k, async () => {
    const [encoder, decoder] = stackPlaces(parts) as [StackPlace, StackPlace];
    const step = openStep(model, given, hooks, { spans: selfSpans(given.starts) });
    const y = await streamOf(step, encoder, given);
    const { hidden } = outputForward(k, encoder.stack, y, step.scratch.h);
    for (const [i, layer] of decoder.stack.layers.entries()) {
      const part = partOf(layer, "cross-attention");
      if (part === null) continue;
      const mark = k.arena.mark();
      const number = decoder.firstLayer + i;
      const fresh = sourceKeys(step, number, part, hidden);
      remember(
        k,
        source.layers[number] as KeyValues,
        fresh,
        given.starts,
        (s) => (places[s] as number) * source.capacity,
      );
      k.arena.release(mark);
    }
  });
  sources.forEach((tokens, s) => {
    if (tokens.length === 0) return;
    source.places[s] = places[s] as number;
    source.lengths[places[s] as number] = tokens.length;
  });
}

/** Sources one after the other. */
function laidOut({ capacity, places }: SourceCache, sources: readonly Int32Array[], vocabSize: number) {
  if (sources.length !== places.length) {
    throw new RangeError(`${sources.length} sources for a cache of ${places.length} sequences`);
  }
  const starts = new Int32Array(sources.length + 1);
  sources.forEach((tokens, s) => {
    if (tokens.length > capacity) {
      throw new RangeError(
        `The source of sequence ${s} has ${tokens.length} tokens, the cache has room for ${capacity}`,
      );
    }
    for (const id of tokens) assertInteger(`token id of the source of sequence ${s}`, id, 0, vocabSize - 1);
    starts[s + 1] = (starts[s] as number) + tokens.length;
  });
  const ids = new Int32Array(starts.at(-1) ?? 0);
  sources.forEach((tokens, s) => ids.set(tokens, starts[s]));
  const positions = Int32Array.from(sources.flatMap((tokens) => [...tokens.keys()]));
  return { ids, positions, starts };
}

/** (S) a place for each sequence that is given a source, in which none lies that another keeps. */
function freePlaces({ places }: SourceCache, sources: readonly Int32Array[]): readonly number[] {
  const isGiven = (s: number): boolean => (sources[s] as Int32Array).length > 0;
  const kept = new Set([...places].filter((_, s) => !isGiven(s)));
  const free = [...places.keys()].filter((place) => !kept.has(place));
  return sources.map((_, s) => isGiven(s) ? free.shift() as number : places[s] as number);
}

/** @param rowOf First row of each sequence in the cache. @mutates to */
function remember(
  k: Kernels,
  to: KeyValues,
  fresh: KeyValues,
  starts: Int32Array,
  rowOf: (sequence: number) => number,
): void {
  const [, heads = 0, headDim = 0] = fresh.keys.shape;
  const width = heads * headDim;
  for (let s = 0; s + 1 < starts.length; s++) {
    const [begin, end] = [(starts[s] as number) * width, (starts[s + 1] as number) * width];
    if (end === begin) continue;
    const at = rowOf(s) * width;
    for (const which of ["keys", "values"] as const) {
      k.copy(to[which].data.subarray(at, at + end - begin), fresh[which].data.subarray(begin, end));
    }
  }
}
