// SPDX-License-Identifier: Apache-2.0
/**
 * The order in which examples are trained on: shuffled by (seed, epoch), put into rows, rows into steps, steps into
 * micro-batches. All pure functions of data set, options and position, so that a position is all there is to save.
 */
import { UserError } from "../core/errors.ts";
import { permutation } from "../core/rng.ts";
import { assertInteger } from "../core/shape.ts";
import { type Batch, type BatchPictures, batchTokens } from "./batch.ts";
import { labelTargets, maskedTokens, nextTokens, writtenBatch } from "./batch_targets.ts";
import { EVALUATION_DRAW, type MaskDraw, maskExample } from "./masking.ts";
import { type Dataset, exampleCount, exampleLength, type ExamplePictures, sourceLength } from "./dataset.ts";

/** How examples become batches. */
export interface BatchOptions {
  /** Rows of one optimizer step. */
  readonly batchSize: number;
  /** Rows computed at once. Default: batchSize. */
  readonly microBatchSize?: number;
  /**
   * "padding": a row is one example, whatever its length. "packing": a row holds as many examples as fit into seqLen
   * tokens. Padding tokens exist in neither, and examples of a row never see each other. Default "padding".
   */
  readonly rows?: "padding" | "packing";
  /** Of the order; null keeps the order of the files. */
  readonly shuffleSeed: number | null;
  /** What becomes of an epoch's smaller last step: kept (default), or left out unless it is the only one. */
  readonly lastStep?: "keep" | "drop";
}

/** A place between two steps. */
export interface DataPosition {
  /** From 0. */
  readonly epoch: number;
  /** Rows of this epoch that are done. */
  readonly row: number;
}

/** Where every run starts. */
export const FIRST_POSITION: DataPosition = { epoch: 0, row: 0 };

/** A micro-batch with the examples it was made of, one a sequence. */
export interface MicroBatch {
  readonly batch: Batch;
  /** (S) int32 index of each sequence's example in the data set. */
  readonly examples: Int32Array;
}

/** The data of one optimizer step. */
export interface StepData {
  readonly microBatches: readonly MicroBatch[];
  /** Targets of all micro-batches: what the loss is a mean over. */
  readonly targetCount: number;
  /** Tokens of all micro-batches, of what is read and what is written. */
  readonly tokenCount: number;
  /** Where the next step starts. */
  readonly next: DataPosition;
}

/** Examples of one epoch by rows: row r is examples [rowStarts[r], rowStarts[r+1]) of `order`. */
interface EpochRows {
  readonly order: Int32Array;
  readonly rowStarts: readonly number[];
}

/** Examples that are packed together; a window is packed without looking at others. */
const PACKING_WINDOW = 512;

/**
 * The steps from a position on, without end: after an epoch comes the next.
 *
 * @throws {RangeError} When a size is not a positive whole number, or the position lies outside its epoch
 */
export function* trainingSteps(
  dataset: Dataset,
  options: BatchOptions,
  from: DataPosition = FIRST_POSITION,
): Generator<StepData, never> {
  checkOptions(options);
  if (exampleCount(dataset) === 0) throw new RangeError("The data set has no examples to train on");
  assertInteger("The position's epoch", from.epoch, 0);
  let first = from.row;
  for (let epoch = from.epoch;; epoch++, first = 0) {
    const rows = epochRows(dataset, options, epoch);
    const usable = usableRows(rows, options);
    assertInteger("The position's row", first, 0, usable);
    for (let row = first; row < usable; row += options.batchSize) {
      const end = Math.min(row + options.batchSize, usable);
      const next = end === usable ? { epoch: epoch + 1, row: 0 } : { epoch, row: end };
      yield stepData(dataset, options, rows, row, end, next, drawOf(options, epoch));
    }
  }
}

/** How large a micro-batch is. */
export interface MicroBatchShape {
  readonly tokens: number;
  readonly targets: number;
  /** Pairs of a query and a key it sees: the sum over sequences of n (n + 1) / 2. */
  readonly pairs: number;
  /** Tokens of its longest sequence, read or written. */
  readonly longest: number;
  /** Tokens that an encoder reads; 0 where there is none. */
  readonly sourceTokens: number;
}

/**
 * The micro-batches of each step from the start on, as {@linkcode trainingSteps} makes them, by their sizes alone; without
 * end.
 *
 * @throws {RangeError} When a size is not a positive whole number
 */
export function* stepShapes(
  dataset: Dataset,
  options: BatchOptions,
): Generator<readonly MicroBatchShape[], never> {
  checkOptions(options);
  if (exampleCount(dataset) === 0) throw new RangeError("The data set has no examples to train on");
  const always = dataset.masking ? null : exampleTargets(dataset);
  const { batchSize, microBatchSize = batchSize } = options;
  for (let epoch = 0;; epoch++) {
    const targets = always ?? exampleTargets(dataset, drawOf(options, epoch));
    const rows = epochRows(dataset, options, epoch);
    const usable = usableRows(rows, options);
    for (let row = 0; row < usable; row += batchSize) {
      const end = Math.min(row + batchSize, usable);
      const shapes: MicroBatchShape[] = [];
      for (let first = row; first < end; first += microBatchSize) {
        const last = Math.min(first + microBatchSize, end);
        const examples = rows.order.subarray(rows.rowStarts[first], rows.rowStarts[last]);
        shapes.push(microBatchShape(dataset, targets, examples));
      }
      yield shapes;
    }
  }
}

/** The same of {@linkcode sequentialBatches}. */
export function* sequentialShapes(dataset: Dataset, microBatchSize: number): Generator<MicroBatchShape> {
  assertInteger("microBatchSize", microBatchSize, 1);
  const targets = exampleTargets(dataset);
  const all = Int32Array.from({ length: exampleCount(dataset) }, (_, i) => i);
  for (let start = 0; start < all.length; start += microBatchSize) {
    yield microBatchShape(dataset, targets, all.subarray(start, start + microBatchSize));
  }
}

/** (n) targets of each example: one of the whole, or those of its tokens, of which the first is none. */
function exampleTargets(dataset: Dataset, draw: MaskDraw = EVALUATION_DRAW): Int32Array {
  const { labels, masking, offsets, ids, lossMask } = dataset;
  if (labels) return new Int32Array(exampleCount(dataset)).fill(1);
  if (masking) {
    return Int32Array.from({ length: exampleCount(dataset) }, (_, example) => {
      const [from, to] = [offsets[example] as number, offsets[example + 1] as number];
      const { targets } = maskExample(
        masking,
        draw,
        example,
        ids.subarray(from, to),
        lossMask.subarray(from, to),
      );
      return targets.filter((target) => target >= 0).length;
    });
  }
  // What is written behind a source is a target from its first token on.
  const first = dataset.sources ? 0 : 1;
  return Int32Array.from({ length: exampleCount(dataset) }, (_, example) => {
    let count = 0;
    const end = dataset.offsets[example + 1] as number;
    for (let at = (dataset.offsets[example] as number) + first; at < end; at++) {
      count += Number(dataset.lossMask[at] !== 0);
    }
    return count;
  });
}

function microBatchShape(dataset: Dataset, targetsOf: Int32Array, examples: Int32Array): MicroBatchShape {
  let [tokens, targets, pairs, longest, sourceTokens] = [0, 0, 0, 0, 0];
  for (const example of examples) {
    const length = exampleLength(dataset, example);
    const read = sourceLength(dataset, example);
    tokens += length;
    sourceTokens += read;
    targets += targetsOf[example] as number;
    pairs += length * (length + 1) / 2;
    longest = Math.max(longest, length, read);
  }
  return { tokens, targets, pairs, longest, sourceTokens };
}

/** Examples that are packed to count steps, over all epochs: some seconds of work, and more than any run sees. */
const MOST_PACKED = 30_000_000;

/**
 * Steps of the first epochs together. With packing, epochs differ a little.
 *
 * @throws {UserError} When packing so many epochs takes too long
 */
export function countSteps(dataset: Dataset, options: BatchOptions, epochs: number): number {
  checkOptions(options);
  const examples = exampleCount(dataset);
  if (options.rows === "packing" && epochs * examples > MOST_PACKED) {
    throw new UserError(
      `With packing, the steps of ${epochs} epochs of ${examples} examples cannot be counted: say --steps instead of --epochs`,
    );
  }
  let steps = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    steps += Math.ceil(usableRows(epochRows(dataset, options, epoch), options) / options.batchSize);
    if (options.rows !== "packing") return steps * epochs;
  }
  return steps;
}

/**
 * Every example once, in the order of the files, `microBatchSize` examples at a time. For evaluation.
 *
 * @param examples At most this many, from the first
 */
export function* sequentialBatches(
  dataset: Dataset,
  microBatchSize: number,
  examples = Infinity,
): Generator<MicroBatch> {
  assertInteger("microBatchSize", microBatchSize, 1);
  const count = Math.min(examples, exampleCount(dataset));
  for (let start = 0; start < count; start += microBatchSize) {
    const end = Math.min(start + microBatchSize, count);
    yield makeMicroBatch(dataset, Int32Array.from({ length: end - start }, (_, i) => start + i));
  }
}

/** A micro-batch of the given examples, in that order. @param draw What masks are drawn by, where there are any */
export function makeMicroBatch(
  dataset: Dataset,
  examples: Int32Array,
  draw: MaskDraw = EVALUATION_DRAW,
): MicroBatch {
  const starts = new Int32Array(examples.length + 1);
  examples.forEach((example, s) => starts[s + 1] = (starts[s] as number) + exampleLength(dataset, example));
  const tokens = starts[examples.length] as number;
  const ids = new Int32Array(tokens);
  const positions = new Int32Array(tokens);
  examples.forEach((example, s) => {
    const [from, start] = [dataset.offsets[example] as number, starts[s] as number];
    const length = exampleLength(dataset, example);
    for (let i = 0; i < length; i++) positions[start + i] = i;
    ids.set(dataset.ids.subarray(from, from + length), start);
  });
  const { labels, masking, pictures, secondFrom, sources } = dataset;
  if (sources) return { batch: writtenBatch(sources, { ids, positions, starts }, examples), examples };
  const compared = labels
    ? labelTargets(labels, examples)
    : masking
    ? maskedTokens(dataset, masking, examples, starts, draw, ids)
    : nextTokens(dataset, examples, starts);
  const seen = pictures && { pictures: batchPictures(pictures, examples) };
  const types = secondFrom && { types: batchTypes(secondFrom, examples, starts) };
  return { batch: { ids, positions, starts, ...compared, ...seen, ...types }, examples };
}

function batchTypes(secondFrom: Uint32Array, examples: Int32Array, starts: Int32Array): Int32Array {
  const types = new Int32Array(starts.at(-1) ?? 0);
  examples.forEach((example, s) =>
    types.fill(1, (starts[s] as number) + (secondFrom[example] as number), starts[s + 1])
  );
  return types;
}

function batchPictures({ reader, paths, hashes }: ExamplePictures, examples: Int32Array): BatchPictures {
  return {
    read(sequence, rows) {
      const example = examples[sequence] as number;
      reader.read(paths[example] as string, hashes[example] as string, rows);
    },
  };
}

/** Masks change with the epoch, and with the seed of the order. */
function drawOf({ shuffleSeed }: BatchOptions, epoch: number): MaskDraw {
  return { seed: shuffleSeed ?? 0, epoch };
}

function checkOptions(options: BatchOptions): void {
  assertInteger("batchSize", options.batchSize, 1);
  assertInteger("microBatchSize", options.microBatchSize ?? options.batchSize, 1);
}

function epochRows(dataset: Dataset, options: BatchOptions, epoch: number): EpochRows {
  const n = exampleCount(dataset);
  const order = options.shuffleSeed === null
    ? Int32Array.from({ length: n }, (_, i) => i)
    : permutation(options.shuffleSeed, epoch, n);
  if (options.rows === "packing") return packRows(dataset, order);
  return { order, rowStarts: Array.from({ length: n + 1 }, (_, i) => i) };
}

/** First fit: each example goes into the first row of its window that has room. */
function packRows(dataset: Dataset, order: Int32Array): EpochRows {
  const packed = new Int32Array(order.length);
  const rowStarts = [0];
  let filled = 0;
  for (let start = 0; start < order.length; start += PACKING_WINDOW) {
    const rows: { room: number; examples: number[] }[] = [];
    for (const example of order.subarray(start, start + PACKING_WINDOW)) {
      const length = Math.max(exampleLength(dataset, example), sourceLength(dataset, example));
      let row = rows.find(({ room }) => room >= length);
      if (row === undefined) rows.push(row = { room: dataset.seqLen, examples: [] });
      row.room -= length;
      row.examples.push(example);
    }
    for (const { examples } of rows) {
      packed.set(examples, filled);
      filled += examples.length;
      rowStarts.push(filled);
    }
  }
  return { order: packed, rowStarts };
}

function usableRows(rows: EpochRows, options: BatchOptions): number {
  const count = rows.rowStarts.length - 1;
  if (options.lastStep !== "drop" || count < options.batchSize) return count;
  return count - count % options.batchSize;
}

function stepData(
  dataset: Dataset,
  options: BatchOptions,
  { order, rowStarts }: EpochRows,
  firstRow: number,
  endRow: number,
  next: DataPosition,
  draw: MaskDraw,
): StepData {
  const microBatches: MicroBatch[] = [];
  const microBatchSize = options.microBatchSize ?? options.batchSize;
  for (let row = firstRow; row < endRow; row += microBatchSize) {
    const end = Math.min(row + microBatchSize, endRow);
    microBatches.push(makeMicroBatch(dataset, order.slice(rowStarts[row], rowStarts[end]), draw));
  }
  return {
    microBatches,
    targetCount: microBatches.reduce((sum, { batch }) => sum + batch.targetCount, 0),
    tokenCount: microBatches.reduce((sum, { batch }) => sum + batchTokens(batch), 0),
    next,
  };
}
