// SPDX-License-Identifier: Apache-2.0
/** The engine: a model over a batch, forward and backward, as composed op pairs. */
import { type IdleMemory, releasing, type Streams } from "../../activations/policy.ts";
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../../activations/registry.ts";
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { Batch } from "../../data/batch.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import { selfSpans } from "../../ops/attention.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";
import { headLoss, headOutputs } from "../heads/registry.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import { lastStack, type ModelParts } from "../parts.ts";
import { openStep, type StepContext, type WaitAccount } from "../sublayers/context.ts";
import { checkBatch, type TokenBatch } from "./check_batch.ts";
import { inputBackward, inputForward } from "./input.ts";
import { outputBackward, outputForward } from "./output.ts";
import { type GradientTap, layerSteps, lowestTrained, outputDepth, streamOf } from "./stacks.ts";

/** A loss as sum and count, so that means over several batches are exact. */
export interface BatchLoss {
  /** Sum over targets, in f64: of -log p(target), or of squared errors. */
  readonly lossSum: number;
  readonly targetCount: number;
}

/** Choices of {@linkcode lossAndGradients}. */
export interface GradientOptions {
  /** What backward remembers; the gradients are the same. */
  readonly activations: ActivationPolicyName;
  /** Scale of the loss whose gradient is taken: 1 / (targets of the whole optimizer step) for the token mean. Not 0. */
  readonly lossScale: number;
  /** Called with the gradient of every hidden state, last layer's output (layer L) first; makes all of them be computed. */
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

/**
 * Loss of a batch, nothing kept.
 *
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function evaluateLoss(model: Model, batch: Batch, hooks: Hooks): Promise<BatchLoss> {
  const { kernels: k, parts } = model;
  return releasing(k, async () => {
    const hidden = await finalHidden(model, batch, hooks);
    const { lossSum, count } = await headLoss(k, parts.head, { hidden, batch }, batch.targets, null);
    return { lossSum, targetCount: count };
  });
}

/** A loss with what the head gave: (M,V) a token, or (S,C) a sequence. */
export interface BatchOutputs extends BatchLoss {
  readonly outputs: Tensor;
}

/** Loss and outputs of a batch, nothing else kept; see {@linkcode evaluateLoss}. */
export function evaluateOutputs(model: Model, batch: Batch, hooks: Hooks): Promise<BatchOutputs> {
  const { kernels: k, parts } = model;
  return releasing(k, async () => {
    const hidden = await finalHidden(model, batch, hooks);
    const { lossSum, count } = await headLoss(k, parts.head, { hidden, batch }, batch.targets, null);
    return { lossSum, targetCount: count, outputs: await headOutputs(k, parts.head, { hidden, batch }) };
  });
}

/**
 * (M) loss of each token of a batch, 0 where none is taken, nothing kept.
 *
 * @throws {RangeError} When the batch contradicts itself or the model, or the head gives no tokens
 */
export function evaluateTokens(model: Model, batch: Batch, hooks: Hooks): Promise<Floats> {
  const { kernels: k, parts } = model;
  return releasing(k, async () => {
    const hidden = await finalHidden(model, batch, hooks);
    const { losses } = await headLoss(k, parts.head, { hidden, batch }, batch.targets, null);
    if (losses === undefined) throw new RangeError(`A ${parts.head.kind} head has no loss for each token`);
    return losses;
  });
}

/**
 * Loss of a batch and the gradient of lossScale * lossSum: added to the `grad` of each weight that has one, and handed to
 * the hooks. Frozen weights cost nothing, and backward ends at the lowest thing that is trained.
 *
 * @mutates grads of the model's weights; what the hooks train
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function lossAndGradients(
  model: Model,
  batch: Batch,
  hooks: Hooks,
  options: GradientOptions,
): Promise<BatchLoss> {
  return releasing(model.kernels, () => {
    const step = batchStep(model, batch, hooks, { waits: options.waits });
    return gradientPass(step, model.parts, batch, options);
  });
}

/** {@linkcode lossAndGradients} of a pass that was set up; what it takes from the arenas is the caller's to give back. */
export async function gradientPass(
  step: StepContext,
  parts: ModelParts,
  batch: TokenBatch,
  options: GradientOptions & { readonly afterLoss?: (() => Promise<void>) | undefined },
): Promise<BatchLoss> {
  const { k } = step;
  const lowest = options.tap === undefined ? lowestTrained(parts, step.hooks) : 0;
  const left: GradientTap = (layer, dx) => {
    options.tap?.(layer, dx);
    options.afterLayer?.(layer);
  };
  const steps = layerSteps(step, parts, lowest, left);
  const { input } = lastStack(parts);
  const { x, residuals } = inputForward(k, input, batch);
  const dx = arenaTensor(k, x.shape);
  let loss: BatchLoss = { lossSum: 0, targetCount: 0 };
  const turn = ([y]: Streams): Awaitable<void> =>
    andThen(lossTurn(step, parts, batch, y as Tensor, dx, options.lossScale, lowest), (found) => {
      loss = found;
      options.seeLoss?.(loss.lossSum);
      options.tap?.(steps.length, dx);
      return options.afterLoss?.();
    });
  const pass = { steps, x: [x], dx: [dx], turn, idle: options.idle };
  await ACTIVATION_POLICIES[options.activations].run(k, pass);
  if (lowest === 0) inputBackward(k, input, batch, residuals, dx);
  return loss;
}

/**
 * What the head gives for a batch, in memory of its own: all logits (M,V) of a language model, for tests and small models;
 * (S,C) of a head on sequences.
 *
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function forwardLogits(model: Model, batch: Batch, hooks: Hooks): Promise<Tensor> {
  const { kernels: k, parts: { head } } = model;
  return releasing(k, async () => {
    const hidden = await finalHidden(model, batch, hooks);
    return headOutputs(k, head, { hidden, batch });
  });
}

/** (M,E) what the head sees, in the scratch of the pass or the arena. */
async function finalHidden(model: Model, batch: Batch, hooks: Hooks): Promise<Tensor> {
  const step = batchStep(model, batch, hooks);
  const y = await streamOf(step, model.parts, batch);
  return outputForward(step.k, lastStack(model.parts), y, step.scratch.h).hidden;
}

/**
 * What all layers share for a batch of whole sequences. Takes scratch from the arena.
 *
 * @param own What is otherwise for a part of a batch
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function batchStep(
  model: Model,
  batch: TokenBatch,
  hooks: Hooks,
  own: Partial<StepContext> = {},
): StepContext {
  checkBatch(batch, model.config.vocabSize, model.parts.head);
  return openStep(model, batch, hooks, { spans: selfSpans(batch.starts), ...own });
}

/** Output, head and loss, and back to the gradient of y when anything from the output down is trained. */
function lossTurn(
  step: StepContext,
  parts: ModelParts,
  batch: TokenBatch,
  y: Tensor,
  dx: Tensor,
  scale: number,
  lowest: number,
): Awaitable<BatchLoss> {
  const { k, scratch } = step;
  const stack = lastStack(parts);
  const mark = k.arena.mark();
  const { hidden, residuals } = outputForward(k, stack, y, scratch.h);
  const loss = headLoss(k, parts.head, { hidden, batch }, batch.targets, lowest < Infinity ? scale : null);
  return andThen(loss, ({ lossSum, count, dhidden }) => {
    if (dhidden !== null && lowest <= outputDepth(parts)) outputBackward(k, stack, residuals, dhidden, dx);
    k.arena.release(mark);
    return { lossSum, targetCount: count };
  });
}
