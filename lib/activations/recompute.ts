// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps only each step's input, and what the host lane made of it, and runs the rest of the step again before its
 * backward: one more forward of the model, the least memory. The last step's backward begins where its forward ended, so
 * that it is not run again where nothing large comes between.
 */
import type { Place } from "../ops/kernels/place.ts";
import {
  type ActivationPolicy,
  type BothMarks,
  forwardOnly,
  idleLoans,
  markBoth,
  type Pass,
  releaseBoth,
  releasing,
  splitFrozen,
  type Step,
  type Streams,
  streamsLike,
} from "./policy.ts";

/** See {@linkcode ActivationPolicy}. */
export const recompute: ActivationPolicy = {
  reruns: true,
  undoes: false,
  run: <Residuals>(k: Place, pass: Pass<Residuals>): Promise<void> =>
    releasing(k, async () => {
      const { frozen, trained } = splitFrozen(pass.steps);
      const loans = idleLoans(k, pass.idle, frozen.length);
      let x = await forwardOnly(k, frozen, pass.x);
      const isKeptWhole = (i: number): boolean => pass.isTurnLight === true && i === trained.length - 1;
      // What the second forward writes nobody reads.
      const runAgain = (step: Step<Residuals>, input: Streams, first: Residuals): Promise<Residuals> =>
        step.forward(input, streamsLike(k, input), first);
      const kept: { mark: BothMarks; input: Streams; first: Residuals }[] = [];
      for (const [i, step] of trained.entries()) {
        loans.beforeForward(frozen.length + i);
        const mark = markBoth(k);
        const y = streamsLike(k, x);
        const inside = k.arena.mark();
        kept.push({ mark, input: x, first: await step.forward(x, y) });
        if (!isKeptWhole(i)) k.arena.release(inside);
        x = y;
      }
      await pass.turn(x);
      for (const [i, step] of [...trained.entries()].reverse()) {
        const { mark, input, first } = kept[i] as typeof kept[number];
        if (!isKeptWhole(i)) k.arena.release(mark.arena); // the step's output: only the step above, already done, needed it
        loans.beforeBackward(frozen.length + i);
        const residuals = isKeptWhole(i) ? first : await runAgain(step, input, first);
        await step.backward(residuals, pass.dx);
        releaseBoth(k, mark);
      }
    }),
};
