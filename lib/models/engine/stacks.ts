// SPDX-License-Identifier: Apache-2.0
/** Input, layers and output of each stack: wired once, for training, scoring and decoding alike. */
import { forwardOnly } from "../../activations/policy.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type Hooks, hooksBeside } from "../hooks.ts";
import { headLinears, headTensors, inputTensors, outputTensors } from "../part_tensors.ts";
import { headLayer, type ModelParts, type Stack } from "../parts.ts";
import { aloneStage } from "../sublayers/alone.ts";
import { isTrained, type StepContext } from "../sublayers/context.ts";
import { linearIsTrained } from "../sublayers/linear.ts";
import { sublayerStage } from "../sublayers/registry.ts";
import { sublayerIsTrained } from "../sublayers/sublayer.ts";
import { coupledWiring } from "../wiring/coupled.ts";
import { ALONE, type Computing } from "../wiring/coupling.ts";
import { type PlainStage, plainStep, plainWiring } from "../wiring/plain.ts";
import type { Wiring } from "../wiring/wiring.ts";
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

/** Whether backward has something to add to at the head. */
function headIsTrained(parts: ModelParts, hooks: Hooks): boolean {
  const layer = headLayer(parts);
  return isTrained(headTensors(parts.head)) ||
    headLinears(parts.head).some((linear) => linearIsTrained(linear, hooks, layer));
}

/** What computes in each layer of a stack, in the order it computes in. */
function computingOf(
  { layers }: Pick<Stack, "layers">,
  { coupling }: Hooks,
): readonly (readonly Computing[])[] {
  return layers.map((layer, number) =>
    coupling && number >= coupling.lowest ? coupling.of.functions(layer).flat() : layer
  );
}

/** The hooks that a layer of a stack has: below the coupled ones there are none. */
function hooksOf(hooks: Hooks, number: number): Hooks {
  return hooks.coupling && number < hooks.coupling.lowest ? {} : hooks;
}

/** Depth of what lies behind the layers of a stack; the head is one deeper. */
export function outputDepth(stack: Pick<Stack, "layers">, hooks: Hooks): number {
  return 1 + computingOf(stack, hooks).flat().length;
}

/**
 * Depth in each stack of the lowest thing that is trained: 0 the input, then all that computes in each layer, the output and
 * the head. Gradients are carried down to there and no further. Infinity where nothing is trained. Where something in a stack is, the
 * stack above has to carry gradients down to the lowest layer that sees it.
 */
export function lowestTrained(parts: ModelParts, hooks: Hooks): readonly number[] {
  let isWantedBelow = false;
  return stackPlaces(parts).map(({ stack, firstLayer, isLast }) => {
    const trained = computingOf(stack, hooks).flatMap((layer, i) =>
      layer.map((part) =>
        part === ALONE
          ? hooksBeside(hooks, ALONE, firstLayer + i).length > 0
          : sublayerIsTrained(part, hooksOf(hooks, i), firstLayer + i) ||
            (isWantedBelow && part.kind === "cross-attention")
      )
    );
    const depths = [
      isTrained(inputTensors(stack.input)),
      ...trained,
      isTrained(outputTensors(stack)),
      isLast && headIsTrained(parts, hooks),
    ];
    isWantedBelow = depths.includes(true);
    return isWantedBelow ? depths.indexOf(true) : Infinity;
  });
}

/**
 * The layers of a stack in one pass, joined by the hooks' coupling or plain. May take scratch from the arena.
 *
 * @param like (T,D) of whose shape the streams are
 * @param lowest Lowest depth whose gradient is wanted, by {@linkcode lowestTrained}
 * @param left Called with its number in the stack when backward has left a layer
 */
export function openWiring(
  step: StepContext,
  place: StackPlace,
  { shape }: Pick<Tensor, "shape">,
  lowest: number,
  left?: GradientTap,
): Wiring {
  const { k, hooks: { coupling } } = step;
  const stages = stagesOf(step, place, lowest);
  const leaving = (number: number) => left && ((dx: Tensor): void => left(number, dx));
  if (coupling === undefined) {
    return plainWiring(k, stages.map((layer, number) => plainStep(k, layer, leaving(number))));
  }
  const layers = place.stack.layers.slice(coupling.lowest).map((layer, i) => {
    const own = stages[coupling.lowest + i] as readonly PlainStage[];
    const [{ length }] = coupling.of.functions(layer);
    return { f: own.slice(0, length), g: own.slice(length) };
  });
  const below = stages.slice(0, coupling.lowest).map((layer, i) => plainStep(k, layer, leaving(i)));
  return coupledWiring(k, { coupling, below, layers, firstLayer: place.firstLayer, shape, left });
}

/** What computes in each layer, as stages in that order. */
function stagesOf(step: StepContext, { stack, firstLayer }: StackPlace, lowest: number): PlainStage[][] {
  let depth = 0;
  return computingOf(stack, step.hooks).map((layer, number) => {
    const own = { ...step, hooks: hooksOf(step.hooks, number) };
    return layer.map((part): PlainStage => {
      depth++;
      const stage = part === ALONE
        ? aloneStage(own, firstLayer + number, depth > lowest)
        : sublayerStage(own, firstLayer + number, part, depth > lowest);
      return { stage, needsBackward: depth >= lowest };
    });
  });
}

/** What is read (T,D) of the residual stream behind the last layer of a stack, nothing kept. */
export async function streamOf(step: StepContext, place: StackPlace, batch: InputBatch): Promise<Tensor> {
  const { k } = step;
  const { x } = inputForward(k, place.stack.input, batch);
  const wiring = openWiring(step, place, x, Infinity);
  const [h] = await forwardOnly(k, wiring.below, [x]);
  return await wiring.leave(await forwardOnly(k, wiring.steps, wiring.enter(h as Tensor)));
}
