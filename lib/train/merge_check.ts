// SPDX-License-Identifier: Apache-2.0
/** Whether a merged checkpoint gives the logits of its base and adapter, on a fixed batch. */
import { nextIntegerBelow, randomStream } from "../core/rng.ts";
import type { Batch } from "../data/batch.ts";
import { forwardLogits } from "../models/decoder.ts";
import { loadModel } from "../models/load.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import { indexCheckpoint } from "../tensor/checkpoint_index.ts";
import type { Floats } from "../tensor/tensor.ts";
import { loadAdapter } from "./adapters.ts";

/** A model with or without an adapter, by their folders. */
export interface RunSource {
  readonly model: string;
  readonly adapter: string | null;
}

/** How far a merged model is from what it was merged from. */
export interface MergeComparison {
  /** Largest difference of a logit from that of base and adapter, computed in f32. */
  readonly largestDifference: number;
  /** Largest difference that rounding explains. */
  readonly bound: number;
  /** Where the bound comes from. */
  readonly rule: string;
  readonly largestLogit: number;
  /** Logits compared. */
  readonly count: number;
}

const SEQUENCES = 4;
const SEQUENCE_TOKENS = 16;
const SEED = 20240607;
const EPS_F32 = 2 ** -23;
/** f32: products of the same numbers in another order, some hundred terms of random sign a layer. */
const F32_ROUNDINGS = 64;

/** Random tokens in a few sequences, the same for every model of a vocabulary. */
export function comparisonBatch(vocabSize: number): Batch {
  const random = randomStream(SEED, 0);
  const count = SEQUENCES * SEQUENCE_TOKENS;
  return {
    ids: Int32Array.from({ length: count }, () => nextIntegerBelow(random, vocabSize)),
    positions: Int32Array.from({ length: count }, (_, i) => i % SEQUENCE_TOKENS),
    starts: Int32Array.from({ length: SEQUENCES + 1 }, (_, s) => s * SEQUENCE_TOKENS),
    targets: new Int32Array(count).fill(-1),
    targetCount: 0,
  };
}

/**
 * Compares logits, one model in memory at a time. A merged model whose weights are all f32 must agree in f32 within
 * rounding. With 16-bit weights, both are run with bf16 products, and the merged one may be at most twice as far from
 * the f32 result of base and adapter as base and adapter themselves.
 */
export async function compareMerged(
  source: RunSource,
  mergedDir: string,
  threads?: number,
): Promise<MergeComparison> {
  const exact = await logitsOf(source, "f32", threads);
  const merged: RunSource = { model: mergedDir, adapter: null };
  const largestLogit = largest(exact.logits);
  const common = { largestLogit, count: exact.logits.length };
  if (storesF32(mergedDir)) {
    const { logits } = await logitsOf(merged, "f32", threads);
    const bound = F32_ROUNDINGS * EPS_F32 * (exact.layers + 1) * largestLogit;
    const rule = `${F32_ROUNDINGS} eps of f32 for each layer and the head, times the largest logit`;
    return { ...common, largestDifference: largestDifference(logits, exact.logits), bound, rule };
  }
  const plain = await logitsOf(source, "bf16", threads);
  const { logits } = await logitsOf(merged, "bf16", threads);
  return {
    ...common,
    largestDifference: largestDifference(logits, exact.logits),
    bound: 2 * largestDifference(plain.logits, exact.logits),
    rule: "twice what bf16 products alone change",
  };
}

interface Logits {
  readonly logits: Floats;
  readonly layers: number;
}

async function logitsOf(
  { model: dir, adapter }: RunSource,
  compute: "f32" | "bf16",
  threads: number | undefined,
): Promise<Logits> {
  using kernels = nativeKernels({ compute, threads });
  using base = loadModel(dir, kernels);
  const { model, hooks } = adapter === null
    ? { model: base, hooks: {} }
    : (await loadAdapter(base, adapter)).attach(kernels);
  const batch = comparisonBatch(base.config.vocabSize);
  const { data } = await forwardLogits(model, batch, hooks);
  return { logits: data, layers: base.config.numHiddenLayers };
}

function storesF32(dir: string): boolean {
  return [...indexCheckpoint(dir, []).tensors.values()].every(({ dtype }) => dtype === "f32");
}

function largest(values: Floats): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/** Largest |a - b|; NaN when there is one. */
function largestDifference(a: Floats, b: Floats): number {
  if (a.length !== b.length) return NaN;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= most)) most = difference;
    if (Number.isNaN(most)) return NaN;
  }
  return most;
}
