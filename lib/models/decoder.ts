// SPDX-License-Identifier: Apache-2.0
/** The engine: a decoder over a batch, forward and backward, as composed op pairs. */
import { forwardOnly, type IdleMemory, releasing } from "../activations/policy.ts";
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../activations/registry.ts";
import type { Batch } from "../data/batch.ts";
import { arenaTensor } from "../ops/arena_tensor.ts";
import { causalSpans } from "../ops/attention.ts";
import { embeddingBackward, embeddingForward } from "../ops/embedding.ts";
import { linearForward } from "../ops/linear.ts";
import { headLossForward, headLossForwardBackward } from "../ops/loss.ts";
import { rmsNormBackward, rmsNormForward } from "../ops/norm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkBatch, type TokenBatch } from "./check_batch.ts";
import { createBlocks, type GradientTap, lowestTrained } from "./block.ts";
import type { Hooks } from "./hooks.ts";
import type { Model, RopeRows } from "./model.ts";
import { type StepContext, stepScratch, type WaitAccount } from "./step.ts";

/** A loss as sum and count, so that means over several batches are exact. */
export interface BatchLoss {
  /** Sum over targets of -log p(target), in f64. */
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
  const { kernels: k, weights } = model;
  return releasing(k, async () => {
    const hidden = await finalHidden(model, batch, hooks);
    const { lossSum, count } = headLossForward(k, hidden, weights.head, batch.targets);
    return { lossSum, targetCount: count };
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
    const step = { ...batchStep(model, batch, hooks), waits: options.waits };
    return gradientPass(step, model, batch, options);
  });
}

/** {@linkcode lossAndGradients} of a pass that was set up; what it takes from the arenas is the caller's to give back. */
export async function gradientPass(
  step: StepContext,
  model: Model,
  batch: TokenBatch,
  options: GradientOptions & { readonly afterLoss?: (() => Promise<void>) | undefined },
): Promise<BatchLoss> {
  const { kernels: k, weights } = model;
  const lowest = options.tap === undefined ? lowestTrained(weights, step.hooks) : 0;
  const left: GradientTap = (layer, dx) => {
    options.tap?.(layer, dx);
    options.afterLayer?.(layer);
  };
  const blocks = createBlocks(step, weights.layers, lowest, left);
  const x = embeddingForward(k, batch.ids, weights.embedding);
  const dx = arenaTensor(k, x.shape);
  let loss: BatchLoss = { lossSum: 0, targetCount: 0 };
  const turn = (y: Tensor): void | Promise<void> => {
    loss = lossTurn(step, model, batch, y, dx, options.lossScale, lowest);
    options.seeLoss?.(loss.lossSum);
    options.tap?.(blocks.length, dx);
    return options.afterLoss?.();
  };
  await ACTIVATION_POLICIES[options.activations](k, { blocks, x, dx, turn, idle: options.idle });
  if (lowest === 0) embeddingBackward(k, batch.ids, weights.embedding, dx);
  return loss;
}

/**
 * All logits (M,V) of a batch, in memory of their own: for tests and small models.
 *
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function forwardLogits(model: Model, batch: Batch, hooks: Hooks): Promise<Tensor> {
  const { kernels: k, weights } = model;
  return releasing(k, async () => {
    const hidden = await finalHidden(model, batch, hooks);
    const shape = [batch.ids.length, weights.head.rows];
    const logits = { shape, data: k.floats(batch.ids.length * weights.head.rows) };
    return linearForward(k, hidden, weights.head, { addTo: logits });
  });
}

/** (M,D) what the head sees, in the scratch of the pass. */
async function finalHidden(model: Model, batch: Batch, hooks: Hooks): Promise<Tensor> {
  const { kernels: k, weights, config } = model;
  const step = batchStep(model, batch, hooks);
  const x = embeddingForward(k, batch.ids, weights.embedding);
  const y = await forwardOnly(k, createBlocks(step, weights.layers, Infinity), x);
  return rmsNormForward(k, y, weights.finalNorm, config.rmsNormEps, { into: step.scratch.h }).y;
}

/** What all layers share for a batch of whole sequences. Takes scratch from the arena. */
export function batchStep(model: Model, batch: TokenBatch, hooks: Hooks, rope?: RopeRows): StepContext {
  checkBatch(batch, model.config.vocabSize);
  return {
    k: model.kernels,
    config: model.config,
    hooks,
    rope: rope ?? model.rope.rowsFor(batch.positions, batch.starts),
    spans: causalSpans(batch.starts),
    extend: null,
    scratch: stepScratch(model.kernels, model.config, hooks, batch.ids.length),
  };
}

/** Final norm, head and loss, and back to the gradient of y when anything from the final norm down is trained. */
function lossTurn(
  { scratch }: StepContext,
  model: Model,
  batch: TokenBatch,
  y: Tensor,
  dx: Tensor,
  scale: number,
  lowest: number,
): BatchLoss {
  const { kernels: k, weights, config } = model;
  const mark = k.arena.mark();
  const { y: hidden, residuals } = rmsNormForward(k, y, weights.finalNorm, config.rmsNormEps, {
    into: scratch.h,
  });
  const trained = lowest < Infinity;
  const loss = trained
    ? headLossForwardBackward(k, hidden, weights.head, batch.targets, { scale })
    : headLossForward(k, hidden, weights.head, batch.targets);
  if ("dhidden" in loss && lowest <= 1 + 2 * weights.layers.length) {
    k.zero(dx.data);
    rmsNormBackward(k, residuals, weights.finalNorm, loss.dhidden as Tensor, { addTo: dx });
  }
  k.arena.release(mark);
  return { lossSum: loss.lossSum, targetCount: loss.count };
}
