// SPDX-License-Identifier: Apache-2.0
/**
 * Tables of which some rows are others: w'[v] = rows[i] where v is the i-th row that is replaced, else w[v]. So a few tokens of
 * a vocabulary are trained without a copy of the table, and without a gradient of its size.
 *
 * All that is taken of the arena depends on sizes alone, never on which tokens a batch has.
 */
import type { ActivationArray, Floats, RowOverlay, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import { gatherRows } from "./experts.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** Elements that are put into their columns at once: what a device does for one, it compares with all before it. */
const PUT_AT_ONCE = 1 << 12;

/**
 * Rows of the table by id: y[t] = w'[ids[t]].
 *
 * @returns y (T,D) float, in the arena
 */
export function overlaidEmbedding(
  k: ModelKernels & Place,
  ids: Int32Array,
  w: Weight,
  { rows, weight }: RowOverlay,
): Tensor {
  const [count, width] = [ids.length, w.cols];
  const y = arenaTensor(k, [count, width]);
  const mark = k.arena.mark();
  const both = arenaTensor(k, [count + rows.length, width]);
  k.embeddingForward(both.data.subarray(0, count * width), ids, w, false);
  k.copy(both.data.subarray(count * width), weight.data as Floats);
  const places = slotsOf(ids, rows).map((slot, t) => slot === rows.length ? t : count + slot);
  gatherRows(k, both, places, { into: y });
  k.arena.release(mark);
  return y;
}

/** Backward of {@linkcode overlaidEmbedding}: d rows[i] += sum of dy[t] over its tokens. @mutates weight.grad */
export function overlaidEmbeddingBackward(
  k: ModelKernels & Place,
  ids: Int32Array,
  { rows, weight }: RowOverlay,
  dy: Tensor,
): void {
  const { grad, cols } = weight;
  if (grad === null) return;
  const mark = k.arena.mark();
  // One row more takes the gradients of all other tokens.
  const sums = k.arenaFloats((rows.length + 1) * cols);
  k.zero(sums);
  k.embeddingBackward(sums, slotsOf(ids, rows), dy.data, rows.length + 1, cols);
  k.add(grad, sums.subarray(0, rows.length * cols));
  k.arena.release(mark);
}

/** Which replaced row stands for each id; their number for those that none stands for. */
function slotsOf(ids: Int32Array, rows: Int32Array): Int32Array {
  const slots = new Map([...rows].map((row, slot) => [row, slot]));
  return ids.map((id) => slots.get(id) ?? rows.length);
}

/**
 * Turns y = x w^T + bias into x w'^T + bias.
 *
 * @param y (T,V) float     @param x (T,D) float or bf16     @param bias (1,V); null for none
 * @mutates y
 */
export function overlayOutputs(
  k: ModelKernels & Place,
  y: Floats,
  x: ActivationArray,
  { rows, weight }: RowOverlay,
  bias: Weight | null,
  tokens: number,
): void {
  const mark = k.arena.mark();
  const own = k.arenaFloats(tokens * rows.length);
  k.linearForward(own, x, weight, bias && biasOf(k, bias, rows), tokens, false);
  takeColumns(k, y, rows, tokens);
  putColumns(k, y, own, rows, tokens);
  k.arena.release(mark);
}

/**
 * What of the gradient of y = x w'^T the replaced rows have, to be taken before the table's own part.
 *
 * @param dy (T,V) float: its columns of replaced rows become 0, so that the table's part leaves them out
 * @param x  (T,D) float or bf16
 * @returns Adds their part to dx (T,D), which the table's part was written to; to be called once
 * @mutates dy, weight.grad
 */
export function overlayOutputsBackward(
  k: ModelKernels & Place,
  dy: Floats,
  x: ActivationArray,
  { rows, weight }: RowOverlay,
  tokens: number,
): (dx: ActivationArray) => void {
  const mark = k.arena.mark();
  const own = takeColumns(k, dy, rows, tokens);
  if (weight.grad) k.linearBackwardWeight(weight.grad, null, own, x, tokens, weight.rows, weight.cols);
  return (dx) => {
    k.linearBackwardData(dx, own, weight, tokens, true);
    k.arena.release(mark);
  };
}

/** The bias of some outputs, in the arena. */
function biasOf(k: ModelKernels & Place, bias: Weight, rows: Int32Array): Weight {
  const data = k.arenaFloats(rows.length);
  k.embeddingForward(data, rows, { ...bias, rows: bias.cols, cols: 1 }, false);
  return { name: bias.name, dtype: k.float, rows: 1, cols: rows.length, data, mapped: null, grad: null };
}

/** (T,N) of columns of a matrix (T,V), in the arena; there they become 0. @mutates matrix */
function takeColumns(k: ModelKernels & Place, matrix: Floats, columns: Int32Array, tokens: number): Floats {
  const count = columns.length;
  const [taken, less] = [k.arenaFloats(tokens * count), k.arenaFloats(tokens * count)];
  const offsets = Int32Array.from({ length: tokens + 1 }, (_, t) => t * count);
  const all = Int32Array.from({ length: tokens * count }, (_, i) => columns[i % count] as number);
  k.pairsGather(taken, matrix, offsets, all, matrix.length / Math.max(1, tokens));
  k.copy(less, taken);
  k.scale(less, -1);
  putColumns(k, matrix, less, columns, tokens); // x - x is 0, and what is added to 0 stays as it is
  return taken;
}

/** Adds (T,N) to columns of a matrix (T,V). @mutates matrix */
function putColumns(
  k: ModelKernels & Place,
  matrix: Floats,
  added: Floats,
  columns: Int32Array,
  tokens: number,
): void {
  const [width, count] = [matrix.length / Math.max(1, tokens), columns.length];
  const most = Math.max(1, Math.floor(PUT_AT_ONCE / count));
  for (let begin = 0; begin < tokens; begin += most) {
    const rows = Math.min(most, tokens - begin);
    // A matrix is a table of single numbers, to which each is added by its place.
    const places = Int32Array.from(
      { length: rows * count },
      (_, i) => Math.floor(i / count) * width + (columns[i % count] as number),
    );
    const piece = matrix.subarray(begin * width, (begin + rows) * width);
    k.embeddingBackward(
      piece,
      places,
      added.subarray(begin * count, (begin + rows) * count),
      rows * width,
      1,
    );
  }
}
