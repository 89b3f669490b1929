// SPDX-License-Identifier: Apache-2.0
/** Layers on two coupled streams: what enters them, the steps between, and what comes out; see `coupling.ts`. */
import type { Step } from "../../activations/policy.ts";
import { andThen } from "../../core/awaitable.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { coupledStep } from "./coupled_step.ts";
import type { Coupling } from "./coupling.ts";
import { streamAccounts } from "./overflow.ts";
import { chained, type PlainStage } from "./plain.ts";
import { streamArithmetic } from "./streams.ts";
import { topOfStreams } from "./top.ts";
import type { Wiring } from "./wiring.ts";

/** The functions of a coupled layer, as they compute. */
export interface CoupledStages {
  readonly f: readonly PlainStage[];
  readonly g: readonly PlainStage[];
}

/** What a coupled wiring is made of. */
export interface CoupledParts {
  readonly coupling: Coupling;
  /** Number of the stack's lowest layer, as hooks count them. */
  readonly firstLayer: number;
  /** Layers below the coupled ones, as plain steps. */
  readonly below: readonly Step<unknown>[];
  /** By layer, from the lowest coupled one on. */
  readonly layers: readonly CoupledStages[];
  /** (T,D) of the streams. */
  readonly shape: readonly number[];
  /** Given the number of a layer in its stack. */
  readonly left: ((layer: number, dx: Tensor) => void) | undefined;
}

/** The wiring of one pass. Takes scratch from the arena. */
export function coupledWiring(
  k: Kernels,
  { coupling, firstLayer, below, layers, shape, left }: CoupledParts,
): Wiring {
  const { lowest, of, switched, top } = coupling;
  const streams = streamArithmetic(k, coupling.streams);
  const accounts = streamAccounts(k, coupling.streams, firstLayer + lowest, layers.length);
  const out = arenaTensor(k, shape);
  const entered = [0, 1].map(() => streams.room(shape));
  // Where the streams were switched an odd number of times, each plays the other's part.
  const firstOf = (place: number): 0 | 1 => switched && place % 2 === 1 ? 1 : 0;
  const steps = layers.map(({ f, g }, place) =>
    coupledStep(k, streams, coupling, {
      larger: of.larger,
      f: chained(k, f),
      g: chained(k, g),
      needsBackward: [...f, ...g].some(({ needsBackward }) => needsBackward),
      first: firstOf(place),
      account: accounts.of(place),
      left: left && ((dx) => left(lowest + place, dx)),
    }, out)
  );
  const firstOfLast = firstOf(layers.length - 1);
  const model = of.model === "first" ? firstOfLast : firstOfLast === 0 ? 1 : 0;
  const combination = topOfStreams(k, streams, top, model);
  return {
    below,
    steps,
    lowest,
    entersApart: true,
    enter(x) {
      for (const stream of entered) streams.enter(stream, x, accounts.of("entry"));
      return entered;
    },
    gradients: (x) => [arenaTensor(k, x.shape), arenaTensor(k, x.shape)],
    enterGradient: ([d1]) => d1 as Tensor,
    enterBackward: ([d1, d2]) => k.add((d1 as Tensor).data, (d2 as Tensor).data),
    leave: (y) => andThen(accounts.check(coupling.seen), () => combination.combine(y)),
    leaveGradient: (d) => d[model] as Tensor,
    leaveBackward: (y, d) => combination.divide(y, d),
  };
}
