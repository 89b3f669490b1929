// SPDX-License-Identifier: Apache-2.0
/** Mean loss of a model over a data set. */
import { sequentialBatches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { evaluateLoss } from "../models/decoder.ts";
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";

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
  /** Called after every micro-batch with the examples done so far. */
  readonly onProgress?: (examples: number) => void;
}

/** Token mean of the loss over every example, in order. */
export async function datasetLoss(
  model: Model,
  dataset: Dataset,
  options: DatasetLossOptions = {},
): Promise<DatasetLoss> {
  let [lossSum, targets, tokens, done] = [0, 0, 0, 0];
  for (const { batch, examples } of sequentialBatches(dataset, options.microBatchSize ?? 8)) {
    const part = await evaluateLoss(model, batch, options.hooks ?? {});
    lossSum += part.lossSum;
    targets += part.targetCount;
    tokens += batch.ids.length;
    done += examples.length;
    options.onProgress?.(done);
  }
  const loss = lossSum / targets;
  return { loss, perplexity: Math.exp(loss), targets, tokens };
}
