// SPDX-License-Identifier: Apache-2.0
/** Input, layers and output of each stack: wired once, for training, scoring and decoding alike. */
import { forwardOnly, type Step } from "../../activations/policy.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Hooks } from "../hooks.ts";
import { headTensors, inputTensors, type ModelParts, outputTensors, type Stack } from "../parts.ts";
import { isTrained, type StepContext } from "../sublayers/context.ts";
import { sublayerStage } from "../sublayers/registry.ts";
import { sublayerIsTrained } from "../sublayers/sublayer.ts";
import { plainStep } from "../wiring/plain.ts";
import { type InputBatch, inputForward } from "./input.ts";

/**
 * Sees the gradient (T,D) of a hidden state; it must be copied to be kept. For tests and study.
 *
 * @param state From 0: what enters each layer of a stack, then what comes out of its last; then those of the next stack
 */
export type GradientTap = (state: number, dx: Tensor) => void;

/** A stack among those of its model. */
export interface StackPlace {
  readonly stack: Stack;
  readonly number: number;
  /** Number of its lowest layer, as hooks count them. */
  readonly firstLayer: number;
  /** Number of the hidden state that enters it, as taps count them. */
  readonly firstState: number;
  /** Whether the head is on it. */
  readonly isLast: boolean;
}

/** The stacks of a model, in the order they compute in. */
export function stackPlaces({ stacks }: Pick<ModelParts, "stacks">): readonly StackPlace[] {
  let firstLayer = 0;
  return stacks.map((stack, number) => {
    const place = { stack, number, firstLayer, firstState: firstLayer + number };
    firstLayer += stack.layers.length;
    return { ...place, isLast: number === stacks.length - 1 };
  });
}

/** Depth of what lies behind the layers of a stack; the head is one deeper. */
export function outputDepth({ layers }: Pick<Stack, "layers">): number {
  return 1 + layers.flat().length;
}

/**
 * Depth in each stack of the lowest thing that is trained: 0 the input, then each sublayer of each layer, the output and the
 * head. Gradients are carried down to there and no further. Infinity where nothing is trained. Where something in a stack is, the
 * stack above has to carry gradients down to the lowest layer that sees it.
 */
export function lowestTrained(parts: ModelParts, hooks: Hooks): readonly number[] {
  let isWantedBelow = false;
  return stackPlaces(parts).map(({ stack, firstLayer, isLast }) => {
    const trained = stack.layers.flatMap((layer, i) =>
      layer.map((part) =>
        sublayerIsTrained(part, hooks, firstLayer + i) || (isWantedBelow && part.kind === "cross-attention")
      )
    );
    const depths = [
      isTrained(inputTensors(stack.input)),
      ...trained,
      isTrained(outputTensors(stack)),
      isLast && isTrained(headTensors(parts.head)),
    ];
    isWantedBelow = depths.includes(true);
    return isWantedBelow ? depths.indexOf(true) : Infinity;
  });
}

/**
 * The layers of a stack as steps of a pass.
 *
 * @param lowest Lowest depth whose gradient is wanted, by {@linkcode lowestTrained}
 * @param left Called with its number in the stack when backward has left a layer
 */
export function layerSteps(
  step: StepContext,
  { stack, firstLayer }: StackPlace,
  lowest: number,
  left?: GradientTap,
): Step<readonly unknown[]>[] {
  let depth = 0;
  return stack.layers.map((layer, number) => {
    const stages = layer.map((part) => {
      depth++;
      return {
        stage: sublayerStage(step, firstLayer + number, part, depth > lowest),
        needsBackward: depth >= lowest,
      };
    });
    return plainStep(step.k, stages, left && ((dx) => left(number, dx)));
  });
}

/** The residual stream (T,D) behind the last layer of a stack, nothing kept. */
export async function streamOf(step: StepContext, place: StackPlace, batch: InputBatch): Promise<Tensor> {
  const { x } = inputForward(step.k, place.stack.input, batch);
  const [y] = await forwardOnly(step.k, layerSteps(step, place, Infinity), [x]);
  return y as Tensor;
}
