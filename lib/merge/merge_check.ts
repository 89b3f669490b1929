// SPDX-License-Identifier: Apache-2.0
/** Whether a merged checkpoint gives the logits of its base and adapter, on a fixed batch. */
import { attachAdapter } from "../adapters/attach.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import { NotFiniteError } from "../core/errors.ts";
import { nextIntegerBelow, nextUniform, randomStream } from "../core/rng.ts";
import { type Batch, tokenTargets } from "../data/batch.ts";
import { explainNotFinite, searchWeights } from "../evaluate/not_finite.ts";
import { forwardLogits } from "../models/engine/pass.ts";
import { openCheckpoint } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { lastStack } from "../models/parts.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import { indexCheckpoint } from "../tensor/checkpoint_index.ts";
import { loadAdapter, openAdapter, openingOf } from "../train/adapters.ts";

/** A model with or without an adapter, by their folders. */
export interface RunSource {
  readonly model: string;
  readonly adapter: string | null;
  /** Whether merging has made it: then what is not finite has grown beyond the type of its weights. */
  readonly made?: boolean;
}

/** How far a merged model is from what it was merged from. */
export interface MergeComparison {
  /** Whether rounding explains all of it. */
  readonly agrees: boolean;
  /** Largest difference of a logit from that of base and adapter, computed in f32. */
  readonly largestDifference: number;
  /** Largest difference that rounding explains. */
  readonly bound: number;
  /** Root mean square of the differences. */
  readonly rmsDifference: number;
  readonly rmsBound: number;
  /** Where the bounds come from. */
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
/**
 * bf16: rounding the merged weights errs about as much as rounding what they are multiplied with, which base and adapter do
 * as well, so that the errors are expected at sqrt(2) times theirs (measured: 1.1 to 1.6 times). The largest of many errors
 * hangs on chance: 10 to 20 times the root mean square of base and adapter were measured.
 */
const BF16_RMS_RATIO = 2;
const BF16_LARGEST_RATIO = 32;

/** Random tokens in a few sequences, each with a source where the model reads one, or random pictures: the same for every model of a vocabulary, or of a size of pictures. */
export function comparisonBatch({ config, parts }: Pick<Model, "config" | "parts">): Batch {
  const { input } = lastStack(parts);
  const length = input.kind === "patches"
    ? input.positions.rows
    : Math.min(SEQUENCE_TOKENS, config.maxPositionEmbeddings);
  const count = SEQUENCES * length;
  const random = randomStream(SEED, 0);
  const words = (): Int32Array =>
    Int32Array.from({ length: count }, () => nextIntegerBelow(random, config.vocabSize));
  const places = {
    positions: Int32Array.from({ length: count }, (_, i) => i % length),
    starts: Int32Array.from({ length: SEQUENCES + 1 }, (_, s) => s * length),
  };
  return {
    ...(input.kind === "patches"
      ? { ids: new Int32Array(count), pictures: { read: randomPicture } }
      : { ids: words() }),
    ...places,
    ...(parts.stacks.length > 1 && { source: { ids: words(), ...places } }),
    targets: tokenTargets(new Int32Array(count).fill(-1)),
    targetCount: 0,
  };
}

/** Uniform from -1 to 1, about as normalised pictures are. @mutates rows */
function randomPicture(sequence: number, rows: Float32Array): void {
  const random = randomStream(SEED, 1 + sequence);
  for (let i = 0; i < rows.length; i++) rows[i] = 2 * nextUniform(random) - 1;
}

/**
 * Compares logits, one model in memory at a time. A merged model whose weights are all f32 must agree in f32 within
 * rounding. With 16-bit weights, both are run with bf16 products, and the merged one may be at most twice as far from the
 * f32 result of base and adapter, as a root mean square, as base and adapter are themselves.
 *
 * @throws {NotFiniteError} When a logit is not finite, naming the tensor that is to blame
 */
export async function compareMerged(
  source: RunSource,
  mergedDir: string,
  threads?: number,
): Promise<MergeComparison> {
  const exact = await logitsOf(source, "f32", threads);
  const merged: RunSource = { model: mergedDir, adapter: null, made: true };
  if (storesF32(mergedDir)) {
    const { logits } = await logitsOf(merged, "f32", threads);
    const bound = F32_ROUNDINGS * EPS_F32 * (exact.layers + 1) * largestOf(exact.logits);
    const rule = `${F32_ROUNDINGS} eps of f32 for each layer and the head, times the largest logit`;
    return judgeLogits(logits, exact.logits, { bound, rmsBound: bound, rule });
  }
  const plain = differences((await logitsOf(source, "bf16", threads)).logits, exact.logits);
  const { logits } = await logitsOf(merged, "bf16", threads);
  return judgeLogits(logits, exact.logits, {
    bound: BF16_LARGEST_RATIO * plain.rms,
    rmsBound: BF16_RMS_RATIO * plain.rms,
    rule: `${BF16_LARGEST_RATIO} and ${BF16_RMS_RATIO} times the mean change by bf16 products alone`,
  });
}

/** Whether logits are those expected: no one farther off than the one bound, nor all of them together than the other. */
export function judgeLogits(
  logits: Float32Array,
  expected: Float32Array,
  bounds: Pick<MergeComparison, "bound" | "rmsBound" | "rule">,
): MergeComparison {
  const { largest, rms } = differences(logits, expected);
  return {
    agrees: largest <= bounds.bound && rms <= bounds.rmsBound,
    ...bounds,
    largestDifference: largest,
    rmsDifference: rms,
    largestLogit: largestOf(expected),
    count: logits.length,
  };
}

function largestOf(logits: Float32Array): number {
  return logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
}

interface Logits {
  readonly logits: Float32Array;
  readonly layers: number;
}

async function logitsOf(
  { model: dir, adapter, made = false }: RunSource,
  compute: "f32" | "bf16",
  threads: number | undefined,
): Promise<Logits> {
  using kernels = nativeKernels({ compute, threads });
  const saved = adapter === null ? null : await openAdapter(adapter);
  using base = openCheckpoint(dir, kernels, openingOf(saved));
  const params = saved === null ? null : await loadAdapter(base, saved);
  const { model, hooks } = attachAdapter(base, params, kernels);
  const batch = comparisonBatch(base);
  const { data } = await forwardLogits(model, batch, hooks);
  if (!data.every(Number.isFinite)) throw made ? await outgrown(base) : await notFinite(base, params);
  return { logits: Float32Array.from(data), layers: base.config.numHiddenLayers };
}

async function notFinite(model: Model, params: AdapterParams | null): Promise<NotFiniteError> {
  return new NotFiniteError(
    `The logits of base and adapter are not finite. ${await explainNotFinite(model, params)}`,
  );
}

async function outgrown(merged: Model): Promise<NotFiniteError> {
  const { broken } = await searchWeights(merged);
  const why = broken
    ? `tensor "${broken.tensor}" holds ${broken.value} at [${broken.index.join(", ")}]`
    : "its computation overflowed";
  return new NotFiniteError(
    `The merged model's logits are not finite, those of base and adapter are: ${why}; merge with --dtype f32`,
  );
}

function storesF32(dir: string): boolean {
  return [...indexCheckpoint(dir, []).tensors.values()].every(({ dtype }) =>
    dtype === "f32" || dtype === "f64"
  );
}

/** Largest and root mean square of a - b; NaN when there is one, or the lengths differ. */
function differences(a: Float32Array, b: Float32Array): { readonly largest: number; readonly rms: number } {
  if (a.length !== b.length) return { largest: NaN, rms: NaN };
  let [largest, squares] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    // Math.max lets NaN through.
    largest = Math.max(largest, Math.abs(difference));
    squares += difference * difference;
  }
  return { largest, rms: Math.sqrt(squares / Math.max(1, a.length)) };
}
