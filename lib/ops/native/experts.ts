// SPDX-License-Identifier: Apache-2.0
/** Mixture-of-experts over libmeft. */
import * as calls from "../../native/calls.ts";
import type { ExpertKernels } from "../kernels/experts.ts";
import { activation, activationOf, f32, f32OrNull } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";

/** See `meft_experts_*`. */
export function expertKernels({ model }: Lanes): ExpertKernels {
  return {
    expertsChoose(weights, chosen, logits, { experts, active, normalised }): void {
      const tokens = chosen.length / active;
      const scores = f32("logits", logits, tokens * experts);
      const to = f32("weights", weights, tokens * active);
      calls.expertsChoose(model, to, chosen, scores, tokens, experts, active, Number(normalised));
    },

    expertsWeights(weights, chosen, logits, { experts, active, normalised }): void {
      const tokens = chosen.length / active;
      const scores = f32("logits", logits, tokens * experts);
      const to = f32("weights", weights, tokens * active);
      calls.expertsWeights(model, to, chosen, scores, tokens, experts, active, Number(normalised));
    },

    expertsChooseBackward(dlogits, dweights, logits, chosen, { experts, active, normalised }): void {
      const tokens = chosen.length / active;
      calls.expertsChooseBackward(
        model,
        f32("dlogits", dlogits, tokens * experts),
        f32("dweights", dweights, tokens * active),
        f32("logits", logits, tokens * experts),
        chosen,
        tokens,
        experts,
        active,
        Number(normalised),
      );
    },

    expertsGather(y, x, rows, width): void {
      const [to, from] = [activation("y", y, rows.length * width), activation("x", x, 0)];
      const held = width > 0 ? Math.floor(x.length / width) : 0;
      calls.expertsGather(model, to.data, from.data, rows, rows.length, held, width, to.dtype, from.dtype);
    },

    expertsCombine(y, x, places, weights, active, width, accumulate): void {
      const tokens = places.length / active;
      const from = activation("x", x, places.length * width);
      calls.expertsCombine(
        model,
        f32("y", y, tokens * width),
        from.data,
        places,
        f32OrNull("weights", weights, places.length),
        tokens,
        active,
        width,
        from.dtype,
        Number(accumulate),
      );
    },

    expertsWeighBackward(dx, dweights, dy, x, slots, weights, width): void {
      const count = slots.length * width;
      const { data, dtype } = activation("dx", dx, count);
      calls.expertsWeighBackward(
        model,
        data,
        f32("dweights", dweights, slots.length),
        activationOf(dtype, "dy", dy, count),
        activationOf(dtype, "x", x, count),
        slots,
        f32("weights", weights, slots.length),
        slots.length,
        width,
        dtype,
      );
    },
  };
}
