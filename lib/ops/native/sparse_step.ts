// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter's backward pass in which rows take their optimizer step, over libmeft, on the host lane. */
import { andThen } from "../../core/awaitable.ts";
import * as calls from "../../native/calls.ts";
import type { RowKernels } from "../kernels/rows.ts";
import { adamwParams, stateArguments } from "./adamw.ts";
import { f32, planes } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";
import { gateArgument, keptArguments, slopeArguments, sparseParams } from "./sparse_arguments.ts";

/** See `meft_sparse_backward_step`. */
export function rowStepKernels(
  { host, compute, times }: Lanes,
): Required<Pick<RowKernels, "sparseBackwardStep">> {
  return {
    sparseBackwardStep(call, step) {
      const { pairs, keys, values, shape } = call;
      const squares = new Float64Array(3);
      const frozen = [planes("keys", keys).hi, keys.lo, null, null, null] as const;
      const start = performance.now();
      const done = host.run(
        calls.sparseBackwardStep,
        calls.sparseBackwardStepAsync,
        ...slopeArguments(call),
        squares,
        ...(step.keys ? stateArguments(keys, step.keys) : frozen),
        ...stateArguments(values, step.values),
        ...keptArguments(call),
        gateArgument(call),
        f32("lrHistory", step.adam.lrHistory, step.adam.step),
        step.clip ?? 0,
        sparseParams(shape, compute, pairs.neurons.length),
        adamwParams(step.adam, step.mode),
      );
      return andThen(done, () => {
        times.backward += performance.now() - start;
        return [...squares] as [number, number, number];
      });
    },
  };
}
