// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps only each block's input, and what the host lane made of it, and runs the rest of the block again before its
 * backward: one more forward of the model, the least memory.
 */
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  type BothMarks,
  forwardOnly,
  idleLoans,
  markBoth,
  type Pass,
  releaseBoth,
  releasing,
  splitFrozen,
} from "./policy.ts";

/** An {@linkcode ActivationPolicy}. @mutates pass.dx */
export function recomputeActivations<Residuals>(k: Kernels, pass: Pass<Residuals>): Promise<void> {
  return releasing(k, async () => {
    const { frozen, trained } = splitFrozen(pass.blocks);
    const loans = idleLoans(k, pass.idle, frozen.length);
    let x = await forwardOnly(k, frozen, pass.x);
    const kept: { mark: BothMarks; input: Tensor; first: Residuals }[] = [];
    for (const [i, block] of trained.entries()) {
      loans.beforeForward(frozen.length + i);
      const mark = markBoth(k);
      const y = arenaTensor(k, x.shape);
      const inside = k.arena.mark();
      kept.push({ mark, input: x, first: await block.forward(x, y) });
      k.arena.release(inside);
      x = y;
    }
    await pass.turn(x);
    for (const [i, block] of [...trained.entries()].reverse()) {
      const { mark, input, first } = kept[i] as typeof kept[number];
      k.arena.release(mark.arena); // the block's output: only the block above, already done, needed it
      loans.beforeBackward(frozen.length + i);
      const output = arenaTensor(k, x.shape); // what the second forward writes; nobody reads it
      await block.backward(await block.forward(input, output, first), pass.dx);
      releaseBoth(k, mark);
    }
  });
}
