// SPDX-License-Identifier: Apache-2.0
/** Tokens as what enters the first layer: x = norm(projection(scale * embedding[ids]) + positions[position + offset] + types[type]). */
import { embeddingBackward, embeddingForward } from "../../ops/embedding.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import { isTrainedWeight, type Tensor } from "../../tensor/tensor.ts";
import type { TokenInput } from "../parts.ts";

/** Tokens of a batch, one after the other. */
export interface InputTokens {
  /** (T) int32. */
  readonly ids: Int32Array;
  /** (T) int32: place of each in its sequence. */
  readonly positions: Int32Array;
  /** (T) int32: what kind of text each is of; all 0 when absent. */
  readonly types?: Int32Array;
}

/** What backward needs. */
export interface TokenResiduals {
  readonly norm: NormResiduals | null;
  /** (T,E) the input of the projection. */
  readonly narrow: Tensor;
}

/**
 * The residual stream that enters the first layer.
 *
 * @returns x (T,D), in the arena
 * @throws When an id, a position or a type is outside its table
 */
export function tokenForward(
  k: Kernels,
  { embedding, scale, projection, positions, types, norm }: TokenInput,
  tokens: InputTokens,
): { x: Tensor; residuals: TokenResiduals } {
  const narrow = embeddingForward(k, tokens.ids, embedding);
  if (scale !== 1) k.scale(narrow.data, scale);
  const sum = projection === null ? narrow : linearForward(k, narrow, projection.weight, projection);
  if (positions !== null) {
    embeddingForward(k, rowsAt(tokens, positions.offset), positions.weight, { addTo: sum });
  }
  if (types !== null) embeddingForward(k, typesOf(tokens), types, { addTo: sum });
  const normed = norm && normForward(k, sum, norm);
  return { x: normed?.y ?? sum, residuals: { norm: normed?.residuals ?? null, narrow } };
}

/**
 * Backward of {@linkcode tokenForward}, for what of it is trained.
 *
 * @param dx (T,D) read. @mutates grads of the input's weights; dx
 */
export function tokenBackward(
  k: Kernels,
  { embedding, scale, projection, positions, types, norm }: TokenInput,
  tokens: InputTokens,
  residuals: TokenResiduals,
  dx: Tensor,
): void {
  const dsum = norm && residuals.norm ? normBackward(k, residuals.norm, norm, dx) : dx;
  if (types !== null) embeddingBackward(k, typesOf(tokens), types, dsum);
  if (positions !== null) embeddingBackward(k, rowsAt(tokens, positions.offset), positions.weight, dsum);
  const dnarrow = projection === null
    ? dsum
    : linearBackward(k, residuals.narrow, projection.weight, dsum, projection);
  if (!isTrainedWeight(embedding)) return;
  if (scale !== 1) k.scale(dnarrow.data, scale);
  embeddingBackward(k, tokens.ids, embedding, dnarrow);
}

function rowsAt({ positions }: InputTokens, offset: number): Int32Array {
  return positions.map((position) => position + offset);
}

function typesOf({ ids, types }: InputTokens): Int32Array {
  return types ?? new Int32Array(ids.length);
}
