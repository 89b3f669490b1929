// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the last output alone, and what each step's output lacks of its input, and undoes the steps one after the other on the
 * way back: one more forward of the model, and memory that hardly grows with its depth. Of couplings only
 * (Gomez et al., NeurIPS 2017; Liao et al., NeurIPS 2023): a plain layer's output does not tell its input.
 */
import type { Place } from "../ops/kernels/place.ts";
import {
  type ActivationPolicy,
  type BothMarks,
  forwardOnly,
  idleLoans,
  type Keeping,
  type Kept,
  markBoth,
  type Pass,
  releaseBoth,
  releasing,
  splitFrozen,
  type Step,
  type Undoing,
} from "./policy.ts";
import { storeUppermost } from "./store.ts";

/**
 * Steps that are anchors where nobody says how many, whatever the depth: each takes the memory of one stream and saves the largest
 * product of a layer's second forward. So many take less than the second forward of one layer does.
 */
const ANCHORS = 6;

/** What is kept of a step that is undone. */
interface Undone<Residuals> {
  readonly mark: BothMarks;
  readonly undo: Undoing<Residuals>;
  readonly first: Residuals;
  readonly kept: Kept;
}

/** See {@linkcode ActivationPolicy}. */
export const reversible: ActivationPolicy = {
  reruns: true,
  undoes: true,
  run: <Residuals>(k: Place, pass: Pass<Residuals>): Promise<void> =>
    releasing(k, async () => {
      const { frozen, trained } = splitFrozen(pass.steps);
      const lowest = frozen.length;
      const loans = idleLoans(k, pass.idle, lowest);
      const x = await forwardOnly(k, frozen, pass.x);
      const below = trained.slice(0, Math.max(0, (pass.undoing?.steps ?? Infinity) - lowest));
      const above = { ...pass, steps: trained.slice(below.length), x };
      const keeping = keepings(below.length, above.steps.length === 0, pass);
      const undone: Undone<Residuals>[] = [];
      for (const [i, step] of below.entries()) {
        loans.beforeForward(lowest + i);
        const undo = undoingOf(step);
        const mark = markBoth(k);
        const kept = undo.keep(x, keeping[i] as Keeping);
        const inside = k.arena.mark();
        undone.push({ mark, undo, kept, first: await step.forward(x, x, undefined, kept) });
        if (kept.how !== "whole") k.arena.release(inside);
      }
      await storeUppermost(k, above, lowest + below.length, loans);
      for (const [i, { mark, undo, first, kept }] of [...undone.entries()].reverse()) {
        loans.beforeBackward(lowest + i);
        await undo.backward(x, pass.dx, first, kept);
        releaseBoth(k, mark);
      }
    }),
};

/** How each of the steps that are undone is kept. @param areAll Whether none is above them */
function keepings<Residuals>(
  count: number,
  areAll: boolean,
  { isTurnLight, undoing }: Pass<Residuals>,
): Keeping[] {
  const wholeFrom = areAll && isTurnLight === true ? count - 1 : count;
  const every = undoing?.anchorEvery ?? Math.max(1, wholeFrom / ANCHORS);
  // The n-th anchor is the step in which n times `every` is reached.
  const isAnchor = (i: number): boolean => Math.floor((i + 1) / every) > Math.floor(i / every);
  return Array.from({ length: count }, (_, i) => ({
    how: i >= wholeFrom ? "whole" : isAnchor(i) ? "anchor" : "least",
    needsInput: i > 0,
  }));
}

function undoingOf<Residuals>({ undo }: Step<Residuals>): Undoing<Residuals> {
  if (undo === undefined) {
    throw new RangeError("A step without an inverse cannot be undone: couple the layers");
  }
  return undo;
}
