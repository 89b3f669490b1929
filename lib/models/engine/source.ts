// SPDX-License-Identifier: Apache-2.0
/** What the stacks of a model are given of a batch, and what the second sees of the first. */
import type { BatchSource } from "../../data/batch.ts";
import { crossSpans, selfSpans } from "../../ops/attention.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import { openStep, type SourceContext, type StepContext } from "../sublayers/context.ts";
import type { TokenBatch } from "./check_batch.ts";
import type { InputBatch } from "./input.ts";
import type { StackPlace } from "./stacks.ts";

/** What enters a stack. @throws {RangeError} When the batch has no source for an encoder */
export function inputOf<B extends InputBatch & { readonly source?: BatchSource }>(
  batch: B,
  { isLast }: StackPlace,
): B | BatchSource {
  if (isLast) return batch;
  if (batch.source === undefined) throw new RangeError("The batch has no source for the model's encoder");
  return batch.source;
}

/**
 * What all layers of each stack share for a batch of whole sequences. Takes scratch from the arena.
 *
 * @param own What is otherwise for a part of a batch, in the stack that the head is on
 */
export function batchSteps(
  model: Model,
  batch: TokenBatch,
  hooks: Hooks,
  own: Partial<StepContext> = {},
): readonly StepContext[] {
  const { yieldTurn, waits } = own;
  const { source } = batch;
  const step = (of: BatchSource, own: Partial<StepContext>) =>
    openStep(model, of, hooks, { spans: selfSpans(of.starts), ...own });
  return [...(source === undefined ? [] : [step(source, { yieldTurn, waits })]), step(batch, own)];
}

/**
 * What the layers of the second stack see of the first.
 *
 * @param hidden (N,D) what came out of it     @param gradient (N,D) where its gradient is summed; null when nothing needs it
 */
export function sourceContext(
  { starts, source }: Pick<TokenBatch, "starts" | "source">,
  hidden: Tensor,
  gradient: Tensor | null,
): SourceContext {
  return { spans: crossSpans(starts, source?.starts ?? starts), hidden, gradient };
}
