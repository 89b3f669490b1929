// SPDX-License-Identifier: Apache-2.0
/** Keeps all residuals: the fastest, with memory linear in the number of blocks times what a block keeps. */
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
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
export function storeActivations<Residuals>(k: Kernels, pass: Pass<Residuals>): Promise<void> {
  return releasing(k, async () => {
    const { frozen, trained } = splitFrozen(pass.blocks);
    const loans = idleLoans(k, pass.idle, frozen.length);
    let x = await forwardOnly(k, frozen, pass.x);
    const kept: { mark: BothMarks; residuals: Residuals }[] = [];
    for (const [i, block] of trained.entries()) {
      loans.beforeForward(frozen.length + i);
      const mark = markBoth(k);
      const y = arenaTensor(k, x.shape);
      kept.push({ mark, residuals: await block.forward(x, y) });
      x = y;
    }
    await pass.turn(x);
    for (const [i, block] of [...trained.entries()].reverse()) {
      const { mark, residuals } = kept[i] as { mark: BothMarks; residuals: Residuals };
      loans.beforeBackward(frozen.length + i);
      await block.backward(residuals, pass.dx);
      releaseBoth(k, mark); // the block's output too: only the block above, already done, needed it
    }
  });
}
