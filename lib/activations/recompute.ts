// SPDX-License-Identifier: Apache-2.0
/** Keeps only each block's input and runs the block again before its backward: one more forward, the least memory. */
import type { ArenaMark } from "../native/arena.ts";
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Kernels } from "../ops/kernels.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { forwardOnly, idleLoans, type Pass, releasing, splitFrozen } from "./policy.ts";

/** An {@linkcode ActivationPolicy}. @mutates pass.dx */
export function recomputeActivations<Residuals>(k: Kernels, pass: Pass<Residuals>): Promise<void> {
  return releasing(k, async () => {
    const { frozen, trained } = splitFrozen(pass.blocks);
    const loans = idleLoans(k, pass.idle, frozen.length);
    let x = await forwardOnly(k, frozen, pass.x);
    const kept: { mark: ArenaMark; input: Tensor }[] = [];
    for (const [i, block] of trained.entries()) {
      loans.beforeForward(frozen.length + i);
      kept.push({ mark: k.arena.mark(), input: x });
      const y = arenaTensor(k, x.shape);
      const mark = k.arena.mark();
      await block.forward(x, y);
      k.arena.release(mark);
      x = y;
    }
    pass.turn(x);
    for (const [i, block] of [...trained.entries()].reverse()) {
      const { mark, input } = kept[i] as { mark: ArenaMark; input: Tensor };
      k.arena.release(mark); // the block's output: only the block above, already done, needed it
      loans.beforeBackward(frozen.length + i);
      const output = arenaTensor(k, x.shape); // what the second forward writes; nobody reads it
      await block.backward(await block.forward(input, output), pass.dx);
    }
  });
}
