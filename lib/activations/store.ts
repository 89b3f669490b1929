// SPDX-License-Identifier: Apache-2.0
/** Keeps all residuals: the fastest, with memory linear in the number of steps times what a step keeps. */
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
  streamsLike,
} from "./policy.ts";

/** See {@linkcode ActivationPolicy}. */
export const store: ActivationPolicy = {
  reruns: false,
  undoes: false,
  run: <Residuals>(k: Place, pass: Pass<Residuals>): Promise<void> =>
    releasing(k, async () => {
      const { frozen, trained } = splitFrozen(pass.steps);
      const loans = idleLoans(k, pass.idle, frozen.length);
      let x = await forwardOnly(k, frozen, pass.x);
      const kept: { mark: BothMarks; residuals: Residuals }[] = [];
      for (const [i, step] of trained.entries()) {
        loans.beforeForward(frozen.length + i);
        const mark = markBoth(k);
        const y = streamsLike(k, x);
        kept.push({ mark, residuals: await step.forward(x, y) });
        x = y;
      }
      await pass.turn(x);
      for (const [i, step] of [...trained.entries()].reverse()) {
        const { mark, residuals } = kept[i] as { mark: BothMarks; residuals: Residuals };
        loans.beforeBackward(frozen.length + i);
        await step.backward(residuals, pass.dx);
        releaseBoth(k, mark); // the step's output too: only the step above, already done, needed it
      }
    }),
};
