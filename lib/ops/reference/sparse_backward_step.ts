// SPDX-License-Identifier: Apache-2.0
/** Backward with the rows' AdamW step, of the reference backend: the two one after the other. */
import type { Floats } from "../../tensor/tensor.ts";
import type { RowGradients, RowKernels } from "../kernels/rows.ts";
import { adamwRowKernels } from "./adamw.ts";
import { sparseForwardKernels } from "./sparse.ts";
import { sparseBackwardKernels } from "./sparse_backward.ts";

function squareSum(values: Floats | null): number {
  let sum = 0;
  for (const x of values ?? []) sum += x * x;
  return sum;
}

/** See `meft_sparse_backward_step`. */
export const sparseBackwardStepKernels: Pick<RowKernels, "sparseBackwardStep"> = {
  sparseBackwardStep(call, step) {
    const { pairs, keys, values, shape } = call;
    const gradients: RowGradients = {
      slots: new Int32Array(shape.neurons).fill(-1),
      rows: new Int32Array(shape.neurons),
      rowCount: 0,
      keys: step.keys && new Float64Array(shape.neurons * shape.hidden),
      values: new Float64Array(shape.neurons * shape.hidden),
    };
    sparseForwardKernels.sparseTouch(gradients, pairs.neurons, pairs.offsets[shape.tokens] as number);
    sparseBackwardKernels.sparseBackward(call, gradients, 0);
    const squares = [
      squareSum(call.dgateWeight),
      squareSum(gradients.keys),
      squareSum(gradients.values),
    ] as const;
    const norm = Math.sqrt(squares[0] + squares[1] + squares[2]);
    if (!Number.isFinite(norm)) return squares;
    const factor = step.clip === null ? 1 : Math.min(1, step.clip / (norm + 1e-6));
    const adam = { ...step.adam, gradScale: step.adam.gradScale * factor };
    const { rows, rowCount } = gradients;
    const { adamwRows } = adamwRowKernels;
    adamwRows(values, step.values, gradients.values, rows, rowCount, step.mode, adam);
    if (step.keys && gradients.keys) {
      adamwRows(keys, step.keys, gradients.keys, rows, rowCount, step.mode, adam);
    }
    return squares;
  },
};
