// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter's backward pass in which rows take their optimizer step, over libmeft, on the host lane. */
import { andThen } from "../../core/awaitable.ts";
import * as calls from "../../native/calls.ts";
import type { Kernels } from "../kernels.ts";
import { adamwParams, stateArguments } from "./adamw.ts";
import { f32, f32OrNull, planes, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";
import { checkedRouting, sparseParams } from "./sparse.ts";

/** See `meft_sparse_backward_step`. */
export function rowStepKernels(
  { host, compute, times }: Lanes,
): Required<Pick<Kernels, "sparseBackwardStep">> {
  return {
    sparseBackwardStep(dh, dgateWeight, step, dy, h, routing, pairs, gateWeight, keys, values, shape) {
      const { logits, experts } = checkedRouting(routing, shape);
      const capacity = pairs.neurons.length;
      const squares = new Float64Array(3);
      const frozen = [planes("keys", keys).hi, keys.lo, null, null, null] as const;
      const start = performance.now();
      const done = host.run(
        calls.sparseBackwardStep,
        calls.sparseBackwardStepAsync,
        f32("dh", dh, shape.tokens * shape.hidden),
        f32OrNull("dgateWeight", dgateWeight, shape.experts * shape.hidden),
        squares,
        ...(step.keys ? stateArguments(keys, step.keys) : frozen),
        ...stateArguments(values, step.values),
        f32("dy", dy, shape.tokens * shape.hidden),
        f32("h", h, shape.tokens * shape.hidden),
        logits,
        experts,
        room("offsets", pairs.offsets, shape.tokens + 1),
        pairs.neurons,
        f32("dots", pairs.dots, capacity),
        f32("scores", pairs.scores, capacity),
        f32("gateWeight", gateWeight, shape.experts * shape.hidden),
        f32("lrHistory", step.adam.lrHistory, step.adam.step),
        step.clip ?? 0,
        sparseParams(shape, compute, capacity),
        adamwParams(step.adam, step.mode),
      );
      return andThen(done, () => {
        times.backward += performance.now() - start;
        return [...squares] as [number, number, number];
      });
    },
  };
}
