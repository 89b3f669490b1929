// SPDX-License-Identifier: Apache-2.0
/** What a wiring is: how the layers of a model are joined into steps of a pass, and what goes in and comes out of those. */
import type { Step, StreamGradients, Streams } from "../../activations/policy.ts";
import type { Awaitable } from "../../core/awaitable.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** The layers of one pass. */
export interface Wiring {
  /** Layers below the streams, on what enters the lowest layer of all, lowest first: steps on that alone, not to be undone. */
  readonly below: readonly Step<unknown>[];
  /** Those of the streams, lowest first. */
  readonly steps: readonly Step<unknown>[];
  /** The layer that the first of these is. */
  readonly lowest: number;
  /** The streams that enter it. @param x (T,D) what comes out of the layers below */
  enter(x: Tensor): Streams;
  /** Whether those lie apart from x, where they lay before there was one. */
  readonly entersApart: boolean;
  /** Gradients of those, in the arena. @param like (T,D) of whose shape they are */
  gradients(like: Pick<Tensor, "shape">): StreamGradients;
  /** Where (T,D) the gradient of what `enter` was given is written. */
  enterGradient(d: StreamGradients): Tensor;
  /** Joins those of the streams there. @mutates d */
  enterBackward(d: StreamGradients): void;
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
