// SPDX-License-Identifier: Apache-2.0
/** Full fine-tuning, in f32. */
import type { Method } from "./method.ts";

/** Every weight is trained. The published learning rate is 1e-5. */
export function full(): Method {
  return {
    name: "full",
    summary: "every weight of the model, in f32",
    adapter: { kind: "full", options: {} },
    optimizer: { lr: 1e-5 },
    activations: "store",
  };
}
