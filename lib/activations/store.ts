// SPDX-License-Identifier: Apache-2.0
/** Keeps all residuals: the fastest, with memory linear in the number of steps times what a step keeps. */
import type { Place } from "../ops/kernels/place.ts";
import {
  type ActivationPolicy,
  type BothMarks,
  forwardOnly,
  idleLoans,
  type Loans,
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
      const x = await forwardOnly(k, frozen, pass.x);
      await storeUppermost(k, { ...pass, steps: trained, x }, frozen.length, loans);
    }),
};

/**
 * Forward through the uppermost steps of a pass, its turn, and back through them: each keeps its residuals.
 *
 * @param pass Of these steps alone     @param lowest Number of the lowest of them in the whole pass
 * @mutates pass.dx
 */
export async function storeUppermost<Residuals>(
  k: Place,
  { steps: trained, x: input, dx, turn }: Pass<Residuals>,
  lowest: number,
  loans: Loans,
): Promise<void> {
  const kept: { mark: BothMarks; residuals: Residuals }[] = [];
  let x = input;
  for (const [i, step] of trained.entries()) {
    loans.beforeForward(lowest + i);
    const mark = markBoth(k);
    const y = streamsLike(k, x);
    kept.push({ mark, residuals: await step.forward(x, y) });
    x = y;
  }
  await turn(x);
  for (const [i, step] of [...trained.entries()].reverse()) {
    const { mark, residuals } = kept[i] as typeof kept[number];
    loans.beforeBackward(lowest + i);
    await step.backward(residuals, dx);
    releaseBoth(k, mark); // the step's output too: only the step above, already done, needed it
  }
}
