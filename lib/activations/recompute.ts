// SPDX-License-Identifier: Apache-2.0
/** Keeps only each block's input and runs the block again before its backward: one more forward, the least memory. */
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Kernels } from "../ops/kernels.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { forwardOnly, type Pass, releasing, splitFrozen } from "./policy.ts";

/** An {@linkcode ActivationPolicy}. @mutates pass.dx */
export function recomputeActivations<Residuals>(k: Kernels, pass: Pass<Residuals>): Promise<void> {
  return releasing(k, async () => {
    const { frozen, trained } = splitFrozen(pass.blocks);
    let x = await forwardOnly(k, frozen, pass.x);
    const inputs: Tensor[] = [];
    for (const block of trained) {
      inputs.push(x);
      const y = arenaTensor(k, x.shape);
      const mark = k.arena.mark();
      await block.forward(x, y);
      k.arena.release(mark);
      x = y;
    }
    pass.turn(x);
    const output = arenaTensor(k, x.shape); // what the second forward writes; nobody reads it
    for (const [i, block] of [...trained.entries()].reverse()) {
      const mark = k.arena.mark();
      const residuals = await block.forward(inputs[i] as Tensor, output);
      await block.backward(residuals, pass.dx);
      k.arena.release(mark);
    }
  });
}
