// SPDX-License-Identifier: Apache-2.0
/** What the head's side reads of two streams, and how its gradient is divided between them. */
import type { StreamGradients, Streams } from "../../activations/policy.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import { numel, type Tensor } from "../../tensor/tensor.ts";
import type { Coupling } from "./coupling.ts";
import type { StreamArithmetic } from "./streams.ts";

/** The combination of a coupling at the top of a stack. */
export interface TopOfStreams {
  /** (T,D): the model's stream itself, or in the arena. */
  combine(y: Streams): Tensor;
  /** @param d Of the model's stream holds the gradient of the combination. @mutates d, what is trained */
  divide(y: Streams, d: StreamGradients): void;
}

/** @param model Which of the two is the plain model's stream */
export function topOfStreams(
  k: Kernels,
  streams: StreamArithmetic,
  top: Coupling["top"],
  model: 0 | 1,
): TopOfStreams {
  const other = 1 - model;
  const floats = (y: Streams, place: number): Tensor => streams.floats(y[place] as Streams[number]);
  const copy = (y: Streams): Tensor => streams.copy(y[model] as Streams[number]);
  const of = (d: StreamGradients, place: number): Tensor => d[place] as Tensor;
  if (top === "stream") {
    return { combine: (y) => floats(y, model), divide: (_y, d) => k.zero(of(d, other).data) };
  }
  if (top === "mean") {
    return {
      combine(y) {
        const mean = copy(y);
        const mark = k.arena.mark();
        k.add(mean.data, floats(y, other).data);
        k.arena.release(mark);
        k.scale(mean.data, 0.5);
        return mean;
      },
      divide(_y, d) {
        k.scale(of(d, model).data, 0.5);
        k.copy(of(d, other).data, of(d, model).data);
      },
    };
  }
  const { alpha } = top;
  return {
    combine(y) {
      const sum = copy(y);
      linearForward(k, column(floats(y, other)), alpha, { addTo: column(sum) });
      return sum;
    },
    divide(y, d) {
      linearBackward(k, column(floats(y, other)), alpha, column(of(d, model)), {
        into: column(of(d, other)),
      });
    },
  };
}

/** All elements as rows of one: a number that multiplies them is a weight (1,1). */
function column({ shape, data }: Tensor): Tensor {
  return { shape: [numel(shape), 1], data };
}
