// SPDX-License-Identifier: Apache-2.0
/** Where an adapter meets a model. Models call hooks and never import adapters. */
import type { Awaitable } from "../ops/kernels.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * A hook on a branch site: it sees the normalised input h (T,D) of a half block and adds y (T,D) to that half's output,
 * before the residual add. `forward` is started before the frozen half and awaited after it, so that it may run on
 * another lane.
 */
export interface BranchHook<Residuals = unknown> {
  /**
   * Residuals live in the arena: they are valid until the block's activations are released. When activations are
   * recomputed, forward runs once more just before backward, and that run's residuals count.
   */
  forward(layer: number, h: Tensor): Awaitable<{ y: Tensor; residuals: Residuals }>;
  /** Adds this branch's share to dh (T,D). May run beside the frozen half's backward. @mutates dh */
  backward(layer: number, residuals: Residuals, h: Tensor, dy: Tensor, dh: Tensor): Awaitable<void>;
}

/** Hooks of a model, by site. */
export interface Hooks {
  readonly ffn?: BranchHook;
  readonly attention?: BranchHook;
}
