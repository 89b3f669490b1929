// SPDX-License-Identifier: Apache-2.0
/** A coupled layer as a step on two streams: see `coupling.ts`. */
import type {
  Kept,
  KeptOfStream,
  Stage,
  Step,
  Stream,
  StreamGradients,
  Streams,
} from "../../activations/policy.ts";
import type { ArenaMark } from "../../native/arena_layout.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";
import type { Coupling } from "./coupling.ts";
import { type Addition, isWhole, type StreamArithmetic } from "./streams.ts";

/** What a coupled layer is made of. */
export interface CoupledLayer {
  readonly f: Stage<unknown>;
  readonly g: Stage<unknown>;
  /** Which of the two ends in the product that costs most: what it gives is what makes undoing shorter. */
  readonly larger: Function_;
  readonly needsBackward: boolean;
  /** Which of the two streams is x1: what is switched is the part that a stream plays, not its place. */
  readonly first: 0 | 1;
  /** (2): what did not fit is counted there. */
  readonly account: Floats;
  /** Called when backward has left the layer, with the gradient (T,D) of the stream that F reads. */
  readonly left: ((dx: Tensor) => void) | undefined;
}

type Function_ = "f" | "g";

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
  { f, g, larger, needsBackward, first: one, account, left }: CoupledLayer,
  out: Tensor,
): Step<CoupledResiduals> {
  const two = 1 - one;
  const at = (pair: Streams, place: number): Stream => pair[place] as Stream;
  const parts = {
    f: { stage: f, reads: two, changes: one, coefficient: lambda },
    g: { stage: g, reads: one, changes: two, coefficient: beta },
  };
  /** Where a function writes, and where what its last product gives is kept. */
  const places = (which: Function_, kept?: Kept): [y: Tensor, landing: Tensor | undefined] => {
    const own = which === larger ? kept?.larger ?? undefined : undefined;
    return kept?.how === "whole" ? [own ?? out, undefined] : [out, own];
  };
  /** Backward of both functions, through what each is given. @param before Gives the residuals of each. @mutates d */
  const carry = async (d: StreamGradients, before: (which: Function_) => Promise<unknown>): Promise<void> => {
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
  return {
    needsBackward,
    async forward(x, y, first, kept) {
      const again = (which: Function_, needsOutput: boolean) => first && { first: first[which], needsOutput };
      const addition = (which: Function_, f: Tensor): Addition => {
        const { changes, coefficient } = parts[which];
        return { coefficient, f, kept: kept?.streams[changes] ?? null };
      };
      const [toF, landingF] = places("f", kept);
      const [toG, landingG] = places("g", kept);
      /** Gives back what a function left that will be run again, though the other will not. */
      const passOver = (which: Function_, before: ArenaMark): void => {
        if (kept?.how === "whole" && which !== larger) k.arena.release(before);
      };
      const beforeF = k.arena.mark();
      const ofF = await f.forward(streams.floats(at(x, two)), toF, again("f", true), landingF);
      passOver("f", beforeF);
      const beforeG = k.arena.mark();
      const y1 = streams.addAndRead(at(y, one), at(x, one), addition("f", toF), account);
      const ofG = await g.forward(y1, toG, again("g", false), landingG);
      // Whoever runs it again keeps its input, and reads no output.
      if (first === undefined) streams.add(at(y, two), at(x, two), addition("g", toG), account);
      passOver("g", beforeG);
      return { f: ofF, g: ofG };
    },
    backward: ({ f, g }, d) => carry(d, (which) => Promise.resolve(which === "f" ? f : g)),
    undo: {
      keep(x, keeping) {
        const isAnchor = keeping.how === "anchor";
        const ofStream = (which: Function_): KeptOfStream => {
          const { changes, coefficient } = parts[which];
          const needsX = which === "g" || keeping.needsInput; // F reads x2 in any case
          return needsX ? streams.keep(at(x, changes), coefficient, isAnchor) : null;
        };
        const own = { f: ofStream("f"), g: ofStream("g") };
        const isShorter = keeping.how === "whole" || (isAnchor && !isWhole(own[larger]));
        return {
          ...keeping,
          streams: one === 0 ? [own.f, own.g] : [own.g, own.f],
          larger: isShorter ? arenaTensor(k, out.shape) : null,
        };
      },
      async backward(y, d, first, kept) {
        const lives = (which: Function_): boolean => kept.how === "whole" && which === larger;
        const mark = k.arena.mark();
        await carry(d, async (which) => {
          const { stage, reads, changes, coefficient } = parts[which];
          const ofStream = kept.streams[changes] ?? null;
          const needsX = which === "g" || kept.needsInput;
          const [to, landing] = places(which, kept);
          let residuals = first[which];
          if (which === "f" && !lives("g")) k.arena.release(mark); // what G left
          if (!lives(which)) {
            const needsOutput = needsX && !isWhole(ofStream);
            const again = { first: residuals, needsOutput, landing };
            residuals = await stage.forward(streams.floats(at(y, reads)), to, again);
          }
          if (needsX) streams.undo(at(y, changes), { coefficient, f: to, kept: ofStream });
          return residuals;
        });
      },
    },
  };
}
