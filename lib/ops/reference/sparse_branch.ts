// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter of the reference backend as the host lane is handed it: the single kernels, one after the other. */
import { routedExperts } from "../sparse_routing.ts";
import type { Kernels } from "../kernels.ts";
import { adamwKernels } from "./adamw.ts";
import { sparseForwardKernels } from "./sparse.ts";
import { sparseBackwardKernels } from "./sparse_backward.ts";

/** See `meft_sparse_branch_forward` and `meft_sparse_branch_backward`. */
export const branchKernels: Pick<Kernels, "sparseBranchForward" | "sparseBranchBackward"> = {
  sparseBranchForward(y, routing, pairs, h, gateWeight, keys, values, behind, shape) {
    sparseForwardKernels.sparseRoute(routing, h, gateWeight, shape);
    if (behind) {
      const [experts, rows] = [routedExperts(routing), shape.neurons / shape.experts];
      const { step } = behind;
      if (behind.keys) adamwKernels.adamwRowsCatchUp(keys, behind.keys, experts, rows, false, step);
      if (behind.values) adamwKernels.adamwRowsCatchUp(values, behind.values, experts, rows, false, step);
    }
    const sums = y ?? new Float64Array(shape.tokens * shape.hidden);
    return sparseForwardKernels.sparseForward(sums, pairs, h, routing, keys, values, shape);
  },

  sparseBranchBackward(dh, dgateWeight, gradients, dy, h, routing, pairs, gateWeight, keys, values, shape) {
    const firstNewSlot = gradients.rowCount;
    dh.fill(0);
    sparseForwardKernels.sparseTouch(gradients, pairs.neurons, pairs.offsets[shape.tokens] as number);
    return sparseBackwardKernels.sparseBackward(
      dh,
      dgateWeight,
      gradients,
      firstNewSlot,
      dy,
      h,
      routing,
      pairs,
      gateWeight,
      keys,
      values,
      shape,
    );
  },
};
