// SPDX-License-Identifier: Apache-2.0
/** One micro-batch of a step the way that the run has chosen: whole or in halves, rows on the host or on the model's device. */
import type { Attachment } from "../adapters/attach.ts";
import type { Batch } from "../data/batch.ts";
import type { BatchLoss, GradientOptions } from "../models/engine/gradient_pass.ts";
import { lossAndGradients } from "../models/engine/pass.ts";
import { interleavedLossAndGradients, type PartPlace, splitBatch } from "../models/engine/interleave.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";

/** Attaches the adapter to kernels, for what is behind a place of the micro-batch. */
export type AttachPart = (k: Kernels, place: PartPlace) => Attachment;

/**
 * Loss and gradients of a micro-batch. One that cannot be cut, having fewer than two tokens, is computed whole.
 *
 * @mutates what `attach` gives hooks and gradients to
 */
export function microBatchGradients(
  k: Kernels,
  batch: Batch,
  halves: 1 | 2,
  attach: AttachPart,
  options: Omit<GradientOptions, "tap">,
): Promise<BatchLoss> {
  const split = halves === 2 ? splitBatch(batch) : null;
  const { model, hooks } = attach(k, { firstToken: 0, firstSource: 0, firstTarget: 0 });
  if (split === null) return lossAndGradients(model, batch, hooks, options);
  return interleavedLossAndGradients(model, batch, split, attach, options);
}
