// SPDX-License-Identifier: Apache-2.0
/** Mean loss of a model over a data set. */
import type { AdapterParams } from "../adapters/adapter.ts";
import { NotFiniteError } from "../core/errors.ts";
import { batchTokens } from "../data/batch.ts";
import { sequentialBatches } from "../data/batches.ts";
import { type Dataset, examplePlace } from "../data/dataset.ts";
import { evaluateLoss } from "../models/engine/pass.ts";
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import { explained } from "./not_finite.ts";

/** A loss over a whole data set. */
export interface DatasetLoss {
  /** Mean over all targets of -log p(target), in nats. */
  readonly loss: number;
  /** exp(loss). */
  readonly perplexity: number;
  /** Targets it is a mean of. */
  readonly targets: number;
  /** Tokens computed. */
  readonly tokens: number;
}

/** How a data set is gone through. */
export interface DatasetLossOptions {
  /** Examples computed at once; does not change the result but for rounding. Default 8. */
  readonly microBatchSize?: number;
  /** The adapter, where there is one. */
  readonly hooks?: Hooks;
  /** What the hooks compute with, to be searched when the loss is not finite. */
  readonly adapter?: AdapterParams | null;
  /** Called after every micro-batch with the examples done so far. */
  readonly onProgress?: (examples: number) => void;
}

/**
 * Token mean of the loss over every example, in order.
 *
 * @throws {NotFiniteError} When a loss is not finite: names the rows, and the first tensor that is not finite either
 */
export function datasetLoss(
  model: Model,
  dataset: Dataset,
  options: DatasetLossOptions = {},
): Promise<DatasetLoss> {
  return explained(model, options.adapter ?? null, () => meanLoss(model, dataset, options));
}

async function meanLoss(model: Model, dataset: Dataset, options: DatasetLossOptions): Promise<DatasetLoss> {
  let [lossSum, targets, tokens, done] = [0, 0, 0, 0];
  for (const { batch, examples } of sequentialBatches(dataset, options.microBatchSize ?? 8)) {
    const part = await evaluateLoss(model, batch, options.hooks ?? {});
    if (!Number.isFinite(part.lossSum)) {
      throw new NotFiniteError(`The loss of ${nameRows(dataset, examples)} is ${part.lossSum}`);
    }
    lossSum += part.lossSum;
    targets += part.targetCount;
    tokens += batchTokens(batch);
    done += examples.length;
    options.onProgress?.(done);
  }
  const loss = lossSum / targets;
  return { loss, perplexity: Math.exp(loss), targets, tokens };
}

/** `a.jsonl:3,17 b.jsonl:4`, in their order. */
export function nameRows(data: Dataset, examples: Iterable<number>): string {
  const lines = new Map<string, Set<number>>();
  for (const example of examples) {
    const { file, line } = examplePlace(data, example);
    lines.set(file, (lines.get(file) ?? new Set()).add(line));
  }
  return [...lines].map(([file, numbers]) => `${file}:${[...numbers].join(",")}`).join(" ");
}
