// SPDX-License-Identifier: Apache-2.0
/** The engine: a model over a batch, forward and backward, as composed op pairs. */
import { releasing } from "../../activations/policy.ts";
import type { Batch } from "../../data/batch.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";
import type { HeadInput } from "../heads/head_call.ts";
import { headLoss, headOutputs } from "../heads/registry.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import { headLayer } from "../parts.ts";
import type { SourceContext, StepContext } from "../sublayers/context.ts";
import { checkedBatch } from "./check_batch.ts";
import { type BatchLoss, type GradientOptions, gradientPass } from "./gradient_pass.ts";
import { outputForward } from "./output.ts";
import { batchSteps, inputOf, sourceContext } from "./source.ts";
import { stackPlaces, streamOf } from "./stacks.ts";

/**
 * Loss of a batch, nothing kept.
 *
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function evaluateLoss(model: Model, batch: Batch, hooks: Hooks): Promise<BatchLoss> {
  const { kernels: k, parts } = model;
  return releasing(k, async () => {
    const input = await headInput(model, batch, hooks);
    const { lossSum, count } = await headLoss(k, parts.head, input, batch.targets, null);
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
    const input = await headInput(model, batch, hooks);
    const { lossSum, count } = await headLoss(k, parts.head, input, batch.targets, null);
    return { lossSum, targetCount: count, outputs: await headOutputs(k, parts.head, input) };
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
    const input = await headInput(model, batch, hooks);
    const { losses } = await headLoss(k, parts.head, input, batch.targets, null);
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
    const checked = checkedBatch(model, batch);
    const steps = batchSteps(model, checked, hooks, { waits: options.waits });
    return gradientPass(steps, model.parts, checked, options);
  });
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
    const input = await headInput(model, batch, hooks);
    return headOutputs(k, head, input);
  });
}

/**
 * All stacks of a batch, nothing kept and without the head: for what hooks and streams see on the way.
 *
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function runStacks(model: Model, batch: Batch, hooks: Hooks): Promise<void> {
  return releasing(model.kernels, async () => void await headInput(model, batch, hooks));
}

/** What the head sees: hidden (M,E), in the scratch of the pass or the arena. */
async function headInput(model: Model, given: Batch, hooks: Hooks): Promise<HeadInput> {
  const { kernels: k, parts } = model;
  const batch = checkedBatch(model, given);
  const steps = batchSteps(model, batch, hooks);
  let [hidden, source]: [Tensor | null, SourceContext | undefined] = [null, undefined];
  for (const place of stackPlaces(parts)) {
    const step = { ...steps[place.number] as StepContext, source };
    const y = await streamOf(step, place, inputOf(batch, place));
    hidden = outputForward(k, place.stack, y, step.scratch.h).hidden;
    source = sourceContext(batch, hidden, null);
  }
  return { hidden: hidden as Tensor, batch, hooks, layer: headLayer(parts) };
}
