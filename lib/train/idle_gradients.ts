// SPDX-License-Identifier: Apache-2.0
/** The gradients of a step are worth nothing until backward writes them: until then activations may lie in their memory. */
import type { IdleMemory } from "../activations/policy.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { clearGradients, type Parameter } from "../optim/parameters.ts";

/** Smaller pieces are not worth the search through them. */
export const SMALLEST_LOAN_BYTES = 1 << 20;

/** The gradient memory of one parameter, used or not. */
function gradientMemory(parameter: Parameter): ArrayBufferView | null {
  return parameter.kind === "dense" ? parameter.grad : parameter.gradient?.rows ?? null;
}

/** Whether activations may lie there: they are where the model works. */
function isLendable(k: Kernels, memory: ArrayBufferView): boolean {
  return memory.byteLength >= SMALLEST_LOAN_BYTES && (k.device === null || k.device.holds(memory));
}

/** For the first micro-batch of a step: nothing has been added to any gradient yet. Each is cleared before its layer's backward. */
export function idleGradients(k: Kernels, { byLayer }: AdapterParams): IdleMemory {
  const at = (layer: number): readonly Parameter[] => byLayer[layer] ?? [];
  return {
    untilBackward: (layer) =>
      at(layer).map(gradientMemory).filter((memory) => memory !== null)
        .filter((memory) => isLendable(k, memory)),
    beforeBackward: (layer) => clearGradients(k, at(layer)),
  };
}

/** Sets those gradients to zero that {@linkcode idleGradients} does not. @mutates gradients */
export function clearOtherGradients(k: Kernels, { parameters, byLayer }: AdapterParams): void {
  const ofLayers = new Set(byLayer.flat());
  clearGradients(k, parameters.filter((parameter) => !ofLayers.has(parameter)));
}
