// SPDX-License-Identifier: Apache-2.0
/**
 * A pass forward and backward through all stacks: what an activation policy calls the turn of a stack's pass is the whole pass of
 * the next, and the loss at the end.
 */
import type { IdleMemory, Streams } from "../../activations/policy.ts";
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../../activations/registry.ts";
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { headLoss } from "../heads/registry.ts";
import type { ModelParts } from "../parts.ts";
import type { SourceContext, StepContext, WaitAccount } from "../sublayers/context.ts";
import type { TokenBatch } from "./check_batch.ts";
import { inputBackward, inputForward } from "./input.ts";
import { outputBackward, outputForward } from "./output.ts";
import { inputOf, sourceContext } from "./source.ts";
import {
  type GradientTap,
  layerSteps,
  lowestTrained,
  outputDepth,
  type StackPlace,
  stackPlaces,
} from "./stacks.ts";

/** A loss as sum and count, so that means over several batches are exact. */
export interface BatchLoss {
  /** Sum over targets, in f64: of -log p(target), or of squared errors. */
  readonly lossSum: number;
  readonly targetCount: number;
}

/** Choices of `lossAndGradients`. */
export interface GradientOptions {
  /** What backward remembers; the gradients are the same. */
  readonly activations: ActivationPolicyName;
  /** Scale of the loss whose gradient is taken: 1 / (targets of the whole optimizer step) for the token mean. Not 0. */
  readonly lossScale: number;
  /** Called with the gradient of every hidden state, the last first; makes all of them be computed. */
  readonly tap?: GradientTap;
  /** Memory that is idle for a part of the pass, by layer. */
  readonly idle?: IdleMemory | undefined;
  /** Called with the loss of each part of the batch, before its backward. */
  readonly seeLoss?: ((lossSum: number) => void) | undefined;
  /** Called when backward has left a layer, and everything that adds to its gradients is done. */
  readonly afterLayer?: ((layer: number) => void) | undefined;
  /** What the model's lane waited for is added here. */
  readonly waits?: WaitAccount | undefined;
}

/** What all stacks of a pass share. */
interface StackPasses {
  /** Of each stack. */
  readonly steps: readonly StepContext[];
  readonly places: readonly StackPlace[];
  /** Of each stack, by {@linkcode lowestTrained}. */
  readonly lowest: readonly number[];
  readonly head: ModelParts["head"];
  readonly batch: TokenBatch;
  readonly options: GradientOptions & { readonly afterLoss?: (() => Promise<void>) | undefined };
}

/**
 * `lossAndGradients` of a pass that was set up; what it takes from the arenas is the caller's to give back.
 *
 * @param steps Of each stack
 */
export async function gradientPass(
  steps: readonly StepContext[],
  parts: ModelParts,
  batch: TokenBatch,
  options: StackPasses["options"],
): Promise<BatchLoss> {
  const places = stackPlaces(parts);
  const { hooks } = steps[0] as StepContext;
  const lowest = options.tap === undefined ? lowestTrained(parts, hooks) : places.map(() => 0);
  return await stackPass({ steps, places, lowest, head: parts.head, batch, options }, 0);
}

/** The pass of a stack, and of those behind it. @param source What it sees of the one before */
async function stackPass(passes: StackPasses, number: number, source?: SourceContext): Promise<BatchLoss> {
  const { options } = passes;
  const place = passes.places[number] as StackPlace;
  const step = { ...passes.steps[number] as StepContext, ...(source && { source }) };
  const { k } = step;
  const lowest = passes.lowest[number] as number;
  const left: GradientTap = (layer, dx) => {
    options.tap?.(place.firstState + layer, dx);
    options.afterLayer?.(place.firstLayer + layer);
  };
  const steps = layerSteps(step, place, lowest, left);
  const entering = inputOf(passes.batch, place);
  const { x, residuals } = inputForward(k, place.stack.input, entering);
  const dx = arenaTensor(k, x.shape);
  let loss: BatchLoss = { lossSum: 0, targetCount: 0 };
  const turn = ([y]: Streams): Awaitable<void> => {
    const behind = place.isLast
      ? lossTurn(passes, step, y as Tensor, dx)
      : nextStack(passes, place, step, y as Tensor, dx);
    return andThen(behind, (found) => {
      loss = found;
      if (place.isLast) options.seeLoss?.(loss.lossSum);
      options.tap?.(place.firstState + steps.length, dx);
      return place.isLast ? options.afterLoss?.() : undefined;
    });
  };
  const idle = options.idle && idleFrom(options.idle, place.firstLayer);
  await ACTIVATION_POLICIES[options.activations].run(k, { steps, x: [x], dx: [dx], turn, idle });
  if (lowest === 0) inputBackward(k, place.stack.input, entering, residuals, dx);
  return loss;
}

/** Output of a stack, the whole pass of the next, and back to the gradient of y where the stack is trained. */
async function nextStack(
  passes: StackPasses,
  { stack, number }: StackPlace,
  { k, scratch }: StepContext,
  y: Tensor,
  dx: Tensor,
): Promise<BatchLoss> {
  const mark = k.arena.mark();
  const { hidden, residuals } = outputForward(k, stack, y, scratch.h);
  const lowest = passes.lowest[number] as number;
  const gradient = lowest < Infinity ? arenaTensor(k, hidden.shape) : null;
  if (gradient) k.zero(gradient.data);
  const loss = await stackPass(passes, number + 1, sourceContext(passes.batch, hidden, gradient));
  if (gradient && lowest <= outputDepth(stack)) outputBackward(k, stack, residuals, gradient, dx);
  k.arena.release(mark);
  return loss;
}

/** Output, head and loss, and back to the gradient of y when anything from the output down is trained. */
function lossTurn(
  { places, lowest: lowestOfAll, head, batch, options }: StackPasses,
  { k, scratch }: StepContext,
  y: Tensor,
  dx: Tensor,
): Awaitable<BatchLoss> {
  const { stack } = places.at(-1) as StackPlace;
  const lowest = lowestOfAll.at(-1) as number;
  const mark = k.arena.mark();
  const { hidden, residuals } = outputForward(k, stack, y, scratch.h);
  const scale = lowest < Infinity ? options.lossScale : null;
  return andThen(
    headLoss(k, head, { hidden, batch }, batch.targets, scale),
    ({ lossSum, count, dhidden }) => {
      if (dhidden !== null && lowest <= outputDepth(stack)) outputBackward(k, stack, residuals, dhidden, dx);
      k.arena.release(mark);
      return { lossSum, targetCount: count };
    },
  );
}

/** What is idle in the layers of a stack, by their numbers in it. */
function idleFrom(idle: IdleMemory, firstLayer: number): IdleMemory {
  return {
    untilBackward: (layer) => idle.untilBackward(firstLayer + layer),
    beforeBackward: (layer) => idle.beforeBackward(firstLayer + layer),
  };
}
