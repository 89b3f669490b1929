// SPDX-License-Identifier: Apache-2.0
/** Gradients as whole matrices, for comparisons: compact rows have no fixed order. */
import { isTrained, liveGradient, type Parameter, parameterShape } from "../../../lib/optim/parameters.ts";
import { numel } from "../../../lib/tensor/tensor.ts";

/** Gradients of all trained parameters by name; rows that were not touched are zeros. */
export function wholeGradients(parameters: readonly Parameter[]): Map<string, Float64Array> {
  const found = new Map<string, Float64Array>();
  for (const parameter of parameters.filter(isTrained)) {
    const live = liveGradient(parameter);
    const whole = new Float64Array(numel(parameterShape(parameter)));
    if (parameter.kind === "dense") whole.set(live);
    else {
      const { touched } = parameter.gradient!;
      const { cols } = parameter.matrix;
      for (let slot = 0; slot < touched.rowCount; slot++) {
        whole.set(live.subarray(slot * cols, (slot + 1) * cols), (touched.rows[slot] as number) * cols);
      }
    }
    found.set(parameter.name, whole);
  }
  return found;
}
