// SPDX-License-Identifier: Apache-2.0
/** A coupled layer as a step on two streams: see `coupling.ts`. */
import type {
  Again,
  Dropped,
  Stage,
  Step,
  Stream,
  StreamGradients,
  Streams,
} from "../../activations/policy.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";
import type { Coupling } from "./coupling.ts";
import type { StreamArithmetic } from "./streams.ts";

/** What a coupled layer is made of. */
export interface CoupledLayer {
  readonly f: Stage<unknown>;
  readonly g: Stage<unknown>;
  readonly needsBackward: boolean;
  /** Which of the two streams is x1: what is switched is the part that a stream plays, not its place. */
  readonly first: 0 | 1;
  /** (2): what did not fit is counted there. */
  readonly account: Floats;
  /** Called when backward has left the layer, with the gradient (T,D) of the stream that F reads. */
  readonly left: ((dx: Tensor) => void) | undefined;
}

/** What the functions of a layer left. */
interface CoupledResiduals {
  readonly f: unknown;
  readonly g: unknown;
}

/**
 * A coupled layer.
 *
 * @param out (T,D) scratch that all layers of a pass share: what a function gives, and its gradient
 */
export function coupledStep(
  k: Kernels,
  streams: StreamArithmetic,
  { lambda, beta }: Pick<Coupling, "lambda" | "beta">,
  { f, g, needsBackward, first: one, account, left }: CoupledLayer,
  out: Tensor,
): Step<CoupledResiduals> {
  const two = 1 - one;
  const at = (pair: Streams, place: number): Stream => pair[place] as Stream;
  /** Backward of both functions, through what each is given. @param before Gives the residuals of each. @mutates d */
  const carry = async (
    d: StreamGradients,
    before: (function_: "f" | "g") => Promise<unknown>,
  ): Promise<void> => {
    const [d1, d2] = [d[one] as Tensor, d[two] as Tensor];
    const throughG = await before("g");
    k.copy(out.data, d2.data);
    await g.backward(throughG, out);
    k.add(d1.data, out.data);
    const throughF = await before("f");
    k.copy(out.data, d1.data);
    await f.backward(throughF, out);
    k.scaledAdd(d2.data, beta, out.data);
    k.scale(d1.data, lambda);
    left?.(d2);
  };
  const again = (first: unknown, needsOutput: boolean): Again<unknown> => ({ first, needsOutput });
  return {
    needsBackward,
    async forward(x, y, first, dropped = [null, null]) {
      const ofF = await f.forward(streams.floats(at(x, two)), out, first && again(first.f, true));
      const y1 = streams.addAndRead(
        at(y, one),
        at(x, one),
        { coefficient: lambda, f: out, dropped: dropped[0] ?? null },
        account,
      );
      const ofG = await g.forward(y1, out, first && again(first.g, false));
      // Whoever runs it again keeps its input, and reads no output.
      if (first === undefined) {
        streams.add(
          at(y, two),
          at(x, two),
          { coefficient: beta, f: out, dropped: dropped[1] ?? null },
          account,
        );
      }
      return { f: ofF, g: ofG };
    },
    backward: ({ f, g }, d) => carry(d, (which) => Promise.resolve(which === "f" ? f : g)),
    undo: {
      room: (x): Dropped => [streams.room(at(x, one), lambda), streams.room(at(x, two), beta)],
      async backward(y, d, first, [droppedF, droppedG]) {
        const undoing = {
          g: { stage: g, reads: one, changes: two, coefficient: beta, dropped: droppedG ?? null },
          f: { stage: f, reads: two, changes: one, coefficient: lambda, dropped: droppedF ?? null },
        };
        const mark = k.arena.mark();
        await carry(d, async (which) => {
          const { stage, reads, changes, coefficient, dropped } = undoing[which];
          k.arena.release(mark); // what the function before left
          const residuals = await stage.forward(streams.floats(at(y, reads)), out, again(first[which], true));
          streams.undo(at(y, changes), { coefficient, f: out, dropped });
          return residuals;
        });
      },
    },
  };
}
