// SPDX-License-Identifier: Apache-2.0
/**
 * Cross-entropy of a language model's head, in chunks: the (T,V) logits never live whole, and rows without a target
 * are never computed.
 */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import { assertInteger, assertShape } from "../core/shape.ts";
import type { Floats, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";
import { linearBackwardWeight } from "./linear.ts";
import { overlayOutputs, overlayOutputsBackward } from "./row_overlay.ts";

/** How much memory the logits of one chunk may take. */
export interface HeadLossOptions {
  /** Bytes of one chunk's logits; 64 MiB when absent. At least one row is always taken. */
  readonly chunkBytes?: number;
  /** Rows of a chunk; overrides chunkBytes. */
  readonly chunkRows?: number;
  /** (1,V), added to the logits; its grad, if any, is accumulated. Null or absent for none. */
  readonly bias?: Weight | null;
  /** Logits x become softcap tanh(x / softcap); 0, or absent, for none. */
  readonly softcap?: number;
}

/** The loss of one micro-batch, as sum and count, so that means over several are exact. */
export interface HeadLoss {
  /** Sum over counted rows of -log p(target), summed in f64 in row order. */
  readonly lossSum: number;
  /** Rows with a target >= 0. */
  readonly count: number;
  /** (T) float: loss of each row, 0 where not counted. In the host's memory. */
  readonly losses: Floats;
}

/** Each chunk packs the head again: at 1024 tokens, V 32000, two chunks were 2 % of a step faster than four (Zen 5). */
const CHUNK_BYTES = 64 * 2 ** 20;

/** Rows of logits (V wide) that fit a byte budget, at least one. */
export function lossChunkRows(
  k: ModelKernels & Place,
  vocabulary: number,
  options: HeadLossOptions = {},
): number {
  if (options.chunkRows !== undefined) {
    assertInteger("chunkRows", options.chunkRows, 1);
    return options.chunkRows;
  }
  const rowBytes = vocabulary * (k.float === "f64" ? 8 : 4);
  return Math.max(1, Math.floor((options.chunkBytes ?? CHUNK_BYTES) / Math.max(1, rowBytes)));
}

/**
 * Loss of hidden states under the head, without gradients: losses[t] = -log softmax(head hidden[t])[targets[t]].
 *
 * @param hidden  (T,D) float     @param head (V,D) as stored
 * @param targets (T) int32, below 0 where no loss is taken
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function headLossForward(
  k: ModelKernels & Place,
  hidden: Tensor,
  head: Weight,
  targets: Int32Array,
  options: HeadLossOptions = {},
): Awaitable<HeadLoss> {
  return headLoss(k, hidden, head, targets, options, null);
}

/**
 * Loss of hidden states under the head, and its gradient in the same pass over the logits (forward and backward share
 * them chunk by chunk, so nothing is kept between the two).
 *
 * dlogits = scale * (softmax(logits) - onehot(target)),  dhidden = dlogits head,  dhead += dlogits^T hidden.
 *
 * @param hidden  (T,D) float     @param head (V,D) as stored; its grad, if any, is accumulated
 * @param targets (T) int32, below 0 where no loss is taken
 * @param scale   Of the gradient, usually 1 / (counted targets of the whole optimizer step); not 0
 * @returns the loss, and dhidden (T,D) float, zero in rows without a target, in the arena
 * @mutates head.grad
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function headLossForwardBackward(
  k: ModelKernels & Place,
  hidden: Tensor,
  head: Weight,
  targets: Int32Array,
  options: HeadLossOptions & { readonly scale: number },
): Awaitable<HeadLoss & { readonly dhidden: Tensor }> {
  if (!(Math.abs(options.scale) > 0)) {
    throw new RangeError(`scale of the loss is ${options.scale}, expected not 0`);
  }
  const dhidden = arenaTensor(k, hidden.shape);
  k.zero(dhidden.data);
  const loss = headLoss(k, hidden, head, targets, options, { dhidden, scale: options.scale });
  return andThen(loss, (found) => ({ ...found, dhidden }));
}

function headLoss(
  k: ModelKernels & Place,
  hidden: Tensor,
  head: Weight,
  targets: Int32Array,
  options: HeadLossOptions,
  gradient: { readonly dhidden: Tensor; readonly scale: number } | null,
): Awaitable<HeadLoss> {
  assertShape("hidden of the loss", hidden.shape, [targets.length, head.cols], "T,D");
  const counted = countedRows(targets);
  const chunkRows = Math.min(lossChunkRows(k, head.rows, options), counted.length);
  const mark = k.arena.mark();
  const chunk = chunkBuffers(k, chunkRows, head);
  const countedLosses = k.arenaFloats(counted.length);
  for (let begin = 0; begin < counted.length; begin += chunkRows) {
    const rows = counted.subarray(begin, begin + chunkRows);
    const losses = countedLosses.subarray(begin, begin + rows.length);
    const weights = { weight: head, bias: options.bias ?? null, softcap: options.softcap ?? 0 };
    chunkLoss(k, chunk, rows, hidden, weights, targets, losses, gradient);
  }
  // Read once, when all chunks are under way: only then is a device waited for.
  return andThen(k.read(countedLosses), (read) => {
    const losses = k.floats(targets.length);
    counted.forEach((row, i) => losses[row] = read[i] as number);
    k.arena.release(mark);
    let lossSum = 0; // here, not by chunk: the same bits whatever the chunk
    for (const loss of losses) lossSum += loss;
    return { lossSum, count: counted.length, losses };
  });
}

function countedRows(targets: Int32Array): Int32Array {
  const rows = new Int32Array(targets.length);
  let count = 0;
  for (let t = 0; t < targets.length; t++) {
    if ((targets[t] as number) >= 0) rows[count++] = t;
  }
  return rows.subarray(0, count);
}

interface ChunkBuffers {
  readonly hidden: Floats;
  readonly logits: Floats;
}

function chunkBuffers(k: ModelKernels & Place, rows: number, head: Weight): ChunkBuffers {
  return {
    hidden: k.arenaFloats(rows * head.cols),
    logits: k.arenaFloats(rows * head.rows),
  };
}

/** Gathers the rows, goes forward and back through the head, scatters the gradient. @mutates losses, of these rows */
function chunkLoss(
  k: ModelKernels & Place,
  chunk: ChunkBuffers,
  rows: Int32Array,
  hidden: Tensor,
  { weight: head, bias, softcap }: {
    readonly weight: Weight;
    readonly bias: Weight | null;
    readonly softcap: number;
  },
  targets: Int32Array,
  losses: Floats,
  gradient: { readonly dhidden: Tensor; readonly scale: number } | null,
): void {
  const [count, width] = [rows.length, head.cols];
  const gathered = chunk.hidden.subarray(0, count * width);
  const logits = chunk.logits.subarray(0, count * head.rows);
  forEachRun(rows, (row, i, length) => {
    const from = hidden.data.subarray(row * width, (row + length) * width);
    k.copy(gathered.subarray(i * width, (i + length) * width), from);
  });
  const own = rows.map((row) => targets[row] as number);
  k.linearForward(logits, gathered, head, bias, count, false);
  if (head.overlay) overlayOutputs(k, logits, gathered, head.overlay, bias, count);
  k.crossEntropy(losses, logits, own, head.rows, gradient?.scale ?? 0, softcap);
  if (!gradient) return;

  const dlogits: Tensor = { shape: [count, head.rows], data: logits };
  linearBackwardWeight(k, { shape: [count, width], data: gathered }, head, dlogits, { bias });
  const addOverlaid = head.overlay && overlayOutputsBackward(k, logits, gathered, head.overlay, count);
  k.linearBackwardData(gathered, logits, head, count, false); // the gathered rows are spent: dhidden takes their place
  addOverlaid?.(gathered);
  const { data } = gradient.dhidden;
  forEachRun(rows, (row, i, length) => {
    const to = data.subarray(row * width, (row + length) * width);
    k.copy(to, gathered.subarray(i * width, (i + length) * width));
  });
}

/** Calls `body(row, i, length)` for each run rows[i..i+length) of consecutive rows. */
function forEachRun(rows: Int32Array, body: (row: number, i: number, length: number) => void): void {
  for (let begin = 0, end = 0; begin < rows.length; begin = end) {
    const first = rows[begin] as number;
    for (end = begin + 1; rows[end] === first + end - begin;) end++;
    body(first, begin, end - begin);
  }
}
