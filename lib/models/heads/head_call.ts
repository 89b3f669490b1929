// SPDX-License-Identifier: Apache-2.0
/** What a kind of head computes, and of what. */
import type { Awaitable } from "../../core/awaitable.ts";
import type { Batch } from "../../data/batch.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";
import type { Hooks } from "../hooks.ts";

/** What a head sees. */
export interface HeadInput {
  /** (M,D): the final norm's output. */
  readonly hidden: Tensor;
  readonly batch: Pick<Batch, "ids" | "starts">;
  readonly hooks: Hooks;
  /** The number that hooks know the head by: that behind all layers. */
  readonly layer: number;
}

/** The loss of a batch, as sum and count, and where it was asked for the gradient of scale * loss. */
export interface HeadLoss {
  readonly lossSum: number;
  readonly count: number;
  /** (M) loss of each token, 0 where none is taken: of heads that give tokens in their order. */
  readonly losses?: Floats;
  /** (M,D) float of hidden, in the arena; null unless a scale was given. */
  readonly dhidden: Tensor | null;
}

/** A kind of head. */
export interface HeadKindOf<H> {
  /**
   * Compares the outputs with targets.
   *
   * @param scale Of the gradient, not 0; null for the loss alone
   * @mutates grads of the head's weights
   * @throws {RangeError} When these are targets of another kind of head
   */
  loss(
    k: Kernels,
    head: H,
    input: HeadInput,
    targets: Batch["targets"],
    scale: number | null,
  ): Awaitable<HeadLoss>;
  /** (N,O) in the arena: a row for each token, or for each sequence. */
  outputs(k: Kernels, head: H, input: HeadInput): Tensor;
}
