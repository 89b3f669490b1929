// SPDX-License-Identifier: Apache-2.0
/** Input, layers and output: wired once, for training, scoring and decoding alike. */
import { forwardOnly, type Step } from "../../activations/policy.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Hooks } from "../hooks.ts";
import { headTensors, inputTensors, lastStack, layersOf, type ModelParts, outputTensors } from "../parts.ts";
import { isTrained, type StepContext } from "../sublayers/context.ts";
import { sublayerStage } from "../sublayers/registry.ts";
import { sublayerIsTrained } from "../sublayers/sublayer.ts";
import { plainStep } from "../wiring/plain.ts";
import { type InputBatch, inputForward } from "./input.ts";

/** Sees the gradient (T,D) of the hidden state that enters a layer; it must be copied to be kept. For tests and study. */
export type GradientTap = (layer: number, dx: Tensor) => void;

/** Depth of what lies between the layers and the head, which is one deeper. */
export function outputDepth(parts: ModelParts): number {
  return 1 + layersOf(parts).flat().length;
}

/**
 * Depth of the lowest thing that is trained: 0 the input, then each sublayer of each layer, the output and the head.
 * Gradients are carried down to there and no further. Infinity when nothing is trained.
 */
export function lowestTrained(parts: ModelParts, hooks: Hooks): number {
  const stack = lastStack(parts);
  if (isTrained(inputTensors(stack.input))) return 0;
  const trained = layersOf(parts).flatMap((layer, number) =>
    layer.map((part) => sublayerIsTrained(part, hooks, number))
  );
  const above = [isTrained(outputTensors(stack)), isTrained(headTensors(parts.head))];
  const depth = [...trained, ...above].indexOf(true);
  return depth < 0 ? Infinity : 1 + depth;
}

/**
 * The layers as steps of a pass.
 *
 * @param lowest Lowest depth whose gradient is wanted, by {@linkcode lowestTrained}
 * @param left Called when backward has left a layer
 */
export function layerSteps(
  step: StepContext,
  parts: ModelParts,
  lowest: number,
  left?: GradientTap,
): Step<readonly unknown[]>[] {
  let depth = 0;
  return layersOf(parts).map((layer, number) => {
    const stages = layer.map((part) => {
      depth++;
      return {
        stage: sublayerStage(step, number, part, depth > lowest),
        needsBackward: depth >= lowest,
      };
    });
    return plainStep(step.k, stages, left && ((dx) => left(number, dx)));
  });
}

/** The residual stream (T,D) behind the last layer, nothing kept. */
export async function streamOf(step: StepContext, parts: ModelParts, batch: InputBatch): Promise<Tensor> {
  const { x } = inputForward(step.k, lastStack(parts).input, batch);
  const [y] = await forwardOnly(step.k, layerSteps(step, parts, Infinity), [x]);
  return y as Tensor;
}
