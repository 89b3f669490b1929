// SPDX-License-Identifier: Apache-2.0
/**
 * A pass forward and backward through all stacks: what an activation policy calls the turn of a stack's pass is the whole pass of
 * the next, and the loss at the end.
 */
import {
  forwardOnly,
  type IdleMemory,
  type Pass,
  type StreamGradients,
  type UndoingChoice,
} from "../../activations/policy.ts";
import { ACTIVATION_POLICIES, type ActivationPolicyName, plainPolicy } from "../../activations/registry.ts";
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { ArenaMark } from "../../native/arena_layout.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { givesTokens } from "../heads/head_config.ts";
import { headLoss } from "../heads/registry.ts";
import { headLayer, type ModelParts } from "../parts.ts";
import type { SourceContext, StepContext, WaitAccount } from "../sublayers/context.ts";
import type { Wiring } from "../wiring/wiring.ts";
import type { TokenBatch } from "./check_batch.ts";
import { inputBackward, inputForward } from "./input.ts";
import { outputBackward, outputForward } from "./output.ts";
import { inputOf, sourceContext } from "./source.ts";
import {
  type GradientTap,
  lowestTrained,
  openWiring,
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
  /** How much of the pass is undone, by a policy that undoes; see `Pass`. */
  readonly undoing?: UndoingChoice | undefined;
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
  /** The number that hooks know the head by. */
  readonly headLayer: number;
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
  const { head } = parts;
  return await stackPass({ steps, places, lowest, head, headLayer: headLayer(parts), batch, options }, 0);
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
  const entering = inputOf(passes.batch, place);
  const wiring = openWiring(step, place, step.scratch.h, lowest, left);
  const dx = wiring.gradients(step.scratch.h);
  const dtop = wiring.leaveGradient(dx);
  let loss: BatchLoss = { lossSum: 0, targetCount: 0 };
  const turn: Turn = (y) => {
    const mark = k.arena.mark();
    const behind = andThen(
      wiring.leave(y),
      (top): Awaitable<BatchLoss> =>
        place.isLast ? lossTurn(passes, place, step, top, dtop) : nextStack(passes, place, step, top, dtop),
    );
    return andThen(behind, (found) => {
      if (lowest <= outputDepth(place.stack, step.hooks)) wiring.leaveBackward(y, dx);
      k.arena.release(mark);
      loss = found;
      if (place.isLast) options.seeLoss?.(loss.lossSum);
      options.tap?.(place.firstState + place.stack.layers.length, dtop);
      return place.isLast ? options.afterLoss?.() : undefined;
    });
  };
  const before = k.arena.mark();
  const { x, residuals } = inputForward(k, place.stack.input, entering);
  await layersPass(passes, place, k, wiring, { x, before, dx, turn });
  if (lowest === 0) inputBackward(k, place.stack.input, entering, residuals, wiring.enterGradient(dx));
  return loss;
}

type Turn = Pass<unknown>["turn"];

/** What goes through the layers of a stack, and what was in use before there was an x. */
interface Entering {
  readonly x: Tensor;
  readonly before: ArenaMark;
  readonly dx: StreamGradients;
  readonly turn: Turn;
}

/** Forward through the layers of a stack, the turn, and back. The pass of those on streams is the turn of those below. */
async function layersPass(
  { lowest, head, options: { activations, undoing, idle } }: StackPasses,
  { firstLayer, number, isLast }: StackPlace,
  k: Kernels,
  wiring: Wiring,
  { x, before, dx, turn }: Entering,
): Promise<void> {
  const { below, steps } = wiring;
  const idleOf = (layer: number) => idle && idleFrom(idle, firstLayer + layer);
  const isWantedBelow = below.some(({ needsBackward }) => needsBackward);
  const isWanted = isWantedBelow || lowest[number] === 0;
  // A head that gives tokens takes logits of the vocabulary, and another stack its whole pass.
  const isTurnLight = isLast && !givesTokens(head);
  const onStreams: Turn = async ([h]) => {
    const streams = wiring.enter(h as Tensor);
    if (wiring.entersApart && !isWanted) k.arena.release(before); // nobody reads h again
    const own = { steps, x: streams, dx, turn, isTurnLight, idle: idleOf(wiring.lowest), undoing };
    await ACTIVATION_POLICIES[activations].run(k, own);
    if (isWanted) wiring.enterBackward(dx);
  };
  if (!isWantedBelow) return await onStreams(await forwardOnly(k, below, [x]));
  const around = { steps: below, x: [x], dx: [wiring.enterGradient(dx)], turn: onStreams, idle: idleOf(0) };
  await plainPolicy(activations).run(k, around);
}

/** Output of a stack, the whole pass of the next, and back to the gradient of y where the stack is trained. */
async function nextStack(
  passes: StackPasses,
  { stack, number }: StackPlace,
  { k, scratch, hooks }: StepContext,
  y: Tensor,
  dx: Tensor,
): Promise<BatchLoss> {
  const mark = k.arena.mark();
  const { hidden, residuals } = outputForward(k, stack, y, scratch.h);
  const lowest = passes.lowest[number] as number;
  const gradient = lowest < Infinity ? arenaTensor(k, hidden.shape) : null;
  if (gradient) k.zero(gradient.data);
  const loss = await stackPass(passes, number + 1, sourceContext(passes.batch, hidden, gradient));
  if (gradient && lowest <= outputDepth(stack, hooks)) outputBackward(k, stack, residuals, gradient, dx);
  k.arena.release(mark);
  return loss;
}

/** Output, head and loss, and back to the gradient of y when anything from the output down is trained. */
function lossTurn(
  { lowest: lowestOfAll, head, headLayer: layer, batch, options }: StackPasses,
  { stack, number }: StackPlace,
  { k, scratch, hooks }: StepContext,
  y: Tensor,
  dx: Tensor,
): Awaitable<BatchLoss> {
  const lowest = lowestOfAll[number] as number;
  const mark = k.arena.mark();
  const { hidden, residuals } = outputForward(k, stack, y, scratch.h);
  const scale = lowest < Infinity ? options.lossScale : null;
  return andThen(
    headLoss(k, head, { hidden, batch, hooks, layer }, batch.targets, scale),
    ({ lossSum, count, dhidden }) => {
      const isTrained = lowest <= outputDepth(stack, hooks);
      if (dhidden !== null && isTrained) outputBackward(k, stack, residuals, dhidden, dx);
      k.arena.release(mark);
      return { lossSum, targetCount: count };
    },
  );
}

/** What is idle from a layer on, by the steps of a pass. */
function idleFrom(idle: IdleMemory, firstLayer: number): IdleMemory {
  return {
    untilBackward: (layer) => idle.untilBackward(firstLayer + layer),
    beforeBackward: (layer) => idle.beforeBackward(firstLayer + layer),
  };
}
