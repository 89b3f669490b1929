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
  type Dropped,
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
  type Undoing,
} from "./policy.ts";
import { storeUppermost } from "./store.ts";

/** What is kept of a step that is undone. */
interface Undone<Residuals> {
  readonly mark: BothMarks;
  readonly undo: Undoing<Residuals>;
  /** A copy of what entered; null for most. */
  readonly anchor: Streams | null;
  readonly first: Residuals;
  readonly dropped: Dropped;
}

/** See {@linkcode ActivationPolicy}. */
export const reversible: ActivationPolicy = {
  reruns: true,
  undoes: true,
  run: <Residuals>(k: Place, pass: Pass<Residuals>): Promise<void> =>
    releasing(k, async () => {
      const { undoing: { steps: undoneSteps = Infinity, anchorEvery = Infinity } = {} } = pass;
      const { frozen, trained } = splitFrozen(pass.steps);
      const lowest = frozen.length;
      const loans = idleLoans(k, pass.idle, lowest);
      const x = await forwardOnly(k, frozen, pass.x);
      const below = trained.slice(0, Math.max(0, undoneSteps - lowest));
      const undone: Undone<Residuals>[] = [];
      for (const [i, step] of below.entries()) {
        loans.beforeForward(lowest + i);
        const undo = undoingOf(step);
        const mark = markBoth(k);
        const anchor = i > 0 && (lowest + i) % anchorEvery === 0 ? copied(k, x) : null;
        const dropped = undo.room(x);
        const inside = k.arena.mark();
        undone.push({ mark, undo, anchor, dropped, first: await step.forward(x, x, undefined, dropped) });
        k.arena.release(inside);
      }
      const above = { ...pass, steps: trained.slice(below.length), x };
      await storeUppermost(k, above, lowest + below.length, loans);
      for (const [i, { mark, undo, anchor, first, dropped }] of [...undone.entries()].reverse()) {
        loans.beforeBackward(lowest + i);
        await undo.backward(x, pass.dx, first, dropped);
        if (anchor) copyInto(k, x, anchor);
        releaseBoth(k, mark);
      }
    }),
};

function undoingOf<Residuals>({ undo }: Step<Residuals>): Undoing<Residuals> {
  if (undo === undefined) {
    throw new RangeError("A step without an inverse cannot be undone: couple the layers");
  }
  return undo;
}

function copied(k: Place, streams: Streams): Streams {
  const copy = streamsLike(k, streams);
  copyInto(k, copy, streams);
  return copy;
}

/** @mutates to */
function copyInto(k: Place, to: Streams, from: Streams): void {
  for (const [i, { data }] of from.entries()) k.copy((to[i] as Streams[number]).data, data);
}
