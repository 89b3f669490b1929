// SPDX-License-Identifier: Apache-2.0
/** What a wiring is: how the layers of a model are joined into steps of a pass, and what goes in and comes out of those. */
import type { Step, StreamGradients, Streams } from "../../activations/policy.ts";
import type { Awaitable } from "../../core/awaitable.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** The layers of one pass. */
export interface Wiring {
  /** Lowest first. */
  readonly steps: readonly Step<unknown>[];
  /** The layer that the first step is. */
  readonly lowest: number;
  /** The streams that enter the first step. @param x (T,D) what enters the lowest layer of all */
  enter(x: Tensor): Awaitable<Streams>;
  /** Gradients of those, in the arena. */
  gradients(x: Tensor): StreamGradients;
  /** @returns (T,D) the gradient of x, which is one of d. @mutates d */
  enterBackward(d: StreamGradients): Tensor;
  /**
   * What the head's side reads.
   *
   * @param y Behind the last step     @returns (T,D), a stream itself or in the arena
   * @throws {StreamOverflowError} When a value on the way did not fit its stream
   */
  leave(y: Streams): Awaitable<Tensor>;
  /** Where (T,D) the gradient of what `leave` returned is written. */
  leaveGradient(d: StreamGradients): Tensor;
  /** Divides it among the streams. @mutates d, what is trained */
  leaveBackward(y: Streams, d: StreamGradients): void;
}
