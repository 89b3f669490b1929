// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter of the reference backend as the host lane is handed it: the single kernels, one after the other. */
import type { RowKernels } from "../kernels/rows.ts";
import { routedExperts } from "../sparse_routing.ts";
import { adamwRowKernels } from "./adamw.ts";
import { sparseForwardKernels } from "./sparse.ts";
import { sparseBackwardKernels } from "./sparse_backward.ts";

/** See `meft_sparse_branch_forward` and `meft_sparse_branch_backward`. */
export const branchKernels: Pick<RowKernels, "sparseBranchForward" | "sparseBranchBackward"> = {
  sparseBranchForward(y, call, behind) {
    const { routing, keys, values, shape } = call;
    sparseForwardKernels.sparseRoute(call);
    if (behind) {
      const [experts, rows] = [routedExperts(routing), shape.neurons / shape.experts];
      const { step } = behind;
      const { adamwRowsCatchUp } = adamwRowKernels;
      if (behind.keys) adamwRowsCatchUp(keys, behind.keys, experts, rows, false, step);
      if (behind.values) adamwRowsCatchUp(values, behind.values, experts, rows, false, step);
    }
    return sparseForwardKernels.sparseForward(y ?? new Float64Array(shape.tokens * shape.hidden), call);
  },

  sparseBranchBackward(call, gradients) {
    const firstNewSlot = gradients.rowCount;
    call.dh.fill(0);
    const { neurons, offsets } = call.pairs;
    sparseForwardKernels.sparseTouch(gradients, neurons, offsets[call.shape.tokens] as number);
    return sparseBackwardKernels.sparseBackward(call, gradients, firstNewSlot);
  },
};
