// SPDX-License-Identifier: Apache-2.0
/** What enters the first layer, by the kind of input. */
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { ModelInput } from "../parts.ts";
import { type InputPictures, patchBackward, patchForward, type PatchResiduals } from "./patch_input.ts";
import { type InputTokens, tokenBackward, tokenForward, type TokenResiduals } from "./token_input.ts";

/** What a pass reads of a batch for its input. */
export type InputBatch = InputTokens & InputPictures;

/** What backward needs. */
export type InputResiduals =
  | { readonly kind: "tokens"; readonly of: TokenResiduals }
  | { readonly kind: "patches"; readonly of: PatchResiduals };

/**
 * The residual stream that enters the first layer.
 *
 * @returns x (T,D), in the arena
 * @throws When an id, a position or a type is outside its table, or a picture cannot be read
 */
export function inputForward(
  k: Kernels,
  input: ModelInput,
  batch: InputBatch,
): { x: Tensor; residuals: InputResiduals } {
  if (input.kind === "patches") {
    const { x, residuals } = patchForward(k, input, batch);
    return { x, residuals: { kind: "patches", of: residuals } };
  }
  if (batch.pictures !== undefined) throw new RangeError("The model takes tokens, the batch has pictures");
  const { x, residuals } = tokenForward(k, input, batch);
  return { x, residuals: { kind: "tokens", of: residuals } };
}

/**
 * Backward of {@linkcode inputForward}, for what of it is trained.
 *
 * @param dx (T,D) read. @mutates grads of the input's weights; dx
 */
export function inputBackward(
  k: Kernels,
  input: ModelInput,
  batch: InputBatch,
  residuals: InputResiduals,
  dx: Tensor,
): void {
  if (input.kind === "patches" && residuals.kind === "patches") {
    patchBackward(k, input, batch, residuals.of, dx);
  } else if (input.kind === "tokens" && residuals.kind === "tokens") {
    tokenBackward(k, input, batch, residuals.of, dx);
  }
}
