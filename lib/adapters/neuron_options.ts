// SPDX-License-Identifier: Apache-2.0
/** Options that adapters of neurons beside a sublayer share. */
import { integer, number } from "../core/options.ts";

/** r: neurons in each layer. @param usual The default */
export function neuronsOption<const N extends number>(usual: N) {
  return integer({
    min: 1,
    default: usual,
    help: "adapter neurons in each layer (r)",
    axis: "r, neurons a layer",
    size: true,
    always: true,
  });
}

/** Share of a bottleneck's neurons that are taken away in a training step, behind their activation. */
export const BOTTLENECK_DROPOUT = number({
  min: 0,
  max: 1,
  below: true,
  default: 0,
  help: "share of the neurons of bottlenecks that are taken away in a training step",
});

/** Standard deviation of what reads a neuron's input, at the start. */
export const INIT_STD = number({
  help: "standard deviation of the keys at the start",
  setting: null,
  always: true,
});
