// SPDX-License-Identifier: Apache-2.0
/**
 * Pictures as what enters the first layer: for each x = [learned tokens; projection(patches)] + positions. The projection is the
 * convolution of the checkpoint, whose patches do not overlap: a product with the pixels of each as a row.
 */
import type { BatchPictures } from "../../data/batch.ts";
import { patchCount } from "../../data/images/patches.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import { embeddingBackward, embeddingForward } from "../../ops/embedding.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackwardWeight, linearForward } from "../../ops/linear.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { PatchInput } from "../parts.ts";

/** Tokens of whole pictures, one after the other: the learned ones, then the patches. */
export interface InputPictures {
  /** (T) int32, of which only their number counts. */
  readonly ids: Int32Array;
  /** (T) int32: place of each in its picture. */
  readonly positions: Int32Array;
  /** Absent in a batch of another kind, which is refused. */
  readonly pictures?: BatchPictures;
}

/** What backward needs. */
export interface PatchResiduals {
  /** (S*patches,C*P*P) the pixels; null where the projection is frozen. */
  readonly pixels: Tensor | null;
}

/** A learned token is a table of one row. */
const FIRST_ROW = Int32Array.of(0);

/**
 * The residual stream of a batch of pictures.
 *
 * @param batch Tokens of whole pictures, positions from 0 in each
 * @returns x (T,D), in the arena. Backward keeps the pixels, and only when the projection is trained.
 * @throws {RangeError} When the batch has no pictures, or not the tokens of whole ones
 * @throws {UserError} When a picture cannot be read
 */
export function patchForward(
  k: Kernels,
  input: PatchInput,
  batch: InputPictures,
): { x: Tensor; residuals: PatchResiduals } {
  const { tokens, projection, positions } = input;
  const sequences = pictureCount(input, batch);
  const x = arenaTensor(k, [batch.ids.length, positions.cols]);
  const mark = k.arena.mark();
  const pixels = readPixels(k, input, batch, sequences);
  k.zero(x.data);
  for (let s = 0; s < sequences; s++) {
    const { heads, patches } = rowsOf(input, x, s);
    tokens.forEach((token, i) => embeddingForward(k, FIRST_ROW, token, { addTo: heads[i] as Tensor }));
    linearForward(k, pixelsOf(input, pixels, s), projection.weight, { bias: projection.bias, into: patches });
  }
  embeddingForward(k, batch.positions, positions, { addTo: x });
  if (projection.weight.grad !== null) return { x, residuals: { pixels } };
  k.arena.release(mark);
  return { x, residuals: { pixels: null } };
}

/**
 * Backward of {@linkcode patchForward}, for what of it is trained.
 *
 * @param dx (T,D) read. @mutates grads of the input's weights
 */
export function patchBackward(
  k: Kernels,
  input: PatchInput,
  batch: InputPictures,
  { pixels }: PatchResiduals,
  dx: Tensor,
): void {
  const { tokens, projection, positions } = input;
  embeddingBackward(k, batch.positions, positions, dx);
  for (let s = 0; s < pictureCount(input, batch); s++) {
    const { heads, patches } = rowsOf(input, dx, s);
    tokens.forEach((token, i) => embeddingBackward(k, FIRST_ROW, token, heads[i] as Tensor));
    const seen = pixels && pixelsOf(input, pixels, s);
    linearBackwardWeight(k, seen, projection.weight, patches, { bias: projection.bias });
  }
}

function pictureCount({ positions }: PatchInput, { ids, pictures }: InputPictures): number {
  if (pictures === undefined) throw new RangeError("The model takes pictures, the batch has none");
  const count = ids.length / positions.rows;
  if (Number.isInteger(count)) return count;
  throw new RangeError(`The batch has ${ids.length} tokens, expected ${positions.rows} for each picture`);
}

/** Decoded one after the other: of all pictures there is never more than the batch's pixels. */
function readPixels(
  k: Kernels,
  { shape, projection }: PatchInput,
  { pictures }: InputPictures,
  sequences: number,
): Tensor {
  const [patches, numbers] = [patchCount(shape), projection.weight.cols];
  const pixels = arenaTensor(k, [sequences * patches, numbers]);
  const picture = new Float32Array(patches * numbers);
  const floats = k.floats(picture.length);
  for (let s = 0; s < sequences; s++) {
    pictures?.read(s, picture);
    floats.set(picture);
    k.copy(pixels.data.subarray(s * floats.length, (s + 1) * floats.length), floats);
  }
  return pixels;
}

/** (patches,C*P*P) of a picture. */
function pixelsOf({ shape, projection }: PatchInput, pixels: Tensor, s: number): Tensor {
  const [patches, numbers] = [patchCount(shape), projection.weight.cols];
  const data = pixels.data.subarray(s * patches * numbers, (s + 1) * patches * numbers);
  return { shape: [patches, numbers], data };
}

/** Rows of a picture in the stream: (1,D) of each learned token, (patches,D) of its patches. */
function rowsOf({ tokens, positions }: PatchInput, stream: Tensor, s: number) {
  const [length, width] = [positions.rows, positions.cols];
  const rows = (first: number, end: number): Tensor => ({
    shape: [end - first, width],
    data: stream.data.subarray((s * length + first) * width, (s * length + end) * width),
  });
  return {
    heads: tokens.map((_, i) => rows(i, i + 1)),
    patches: rows(tokens.length, length),
  };
}
