// SPDX-License-Identifier: Apache-2.0
/** Arrays of contract cases that may be stored as floats, or as the backend stores activations. */
import type { ActivationArray } from "../../../lib/tensor/tensor.ts";
import { absolute, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";

/** How an array of a case is stored. */
export interface Storage {
  readonly label: string;
  input(stage: Stage, name: string, count: number, std?: number): ActivationArray;
  output(stage: Stage, count: number): ActivationArray;
}

/** As floats. */
export const FLOATS: Storage = {
  label: "floats",
  input: (stage, name, count, std) => stage.normal(name, count, std),
  output: (stage, count) => stage.output(count),
};

/** As the backend stores activations. */
export const ACTIVATIONS: Storage = {
  label: "activations",
  input: (stage, name, count, std) => stage.activation(name, count, std),
  output: (stage, count) => stage.activationOutput(count),
};

/** Both. */
export const STORAGES = [FLOATS, ACTIVATIONS];

/** Magnitudes of outputs whose terms do not cancel: their own sizes. */
export const outputMagnitudes = (_: Stage, oracle: Outputs): Outputs =>
  Object.fromEntries(Object.entries(oracle).map(([name, values]) => [name, absolute(values)]));
