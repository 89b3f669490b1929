// SPDX-License-Identifier: Apache-2.0
/** What a head gives for every example of a data set, and the scores of it, each with how sure it is. */
import { NotFiniteError } from "../core/errors.ts";
import { batchTokens } from "../data/batch.ts";
import { sequentialBatches } from "../data/batches.ts";
import { type Dataset, exampleCount, type ExampleLabels } from "../data/dataset.ts";
import { evaluateOutputs } from "../models/engine/pass.ts";
import type { Model } from "../models/model.ts";
import type { Scoring } from "../tasks/task.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { drawnEstimate } from "./draws.ts";
import { type DatasetLossOptions, nameRows } from "./loss.ts";
import { type Estimate, proportion } from "./metrics.ts";
import { explained } from "./not_finite.ts";

/** Scores by outputs. */
export type OutputScoring = Extract<Scoring, { by: "outputs" }>;

/** Outputs for a whole data set. */
export interface DatasetOutputs {
  /** Mean over all targets. */
  readonly loss: number;
  readonly targets: number;
  readonly tokens: number;
  /** (n,O), in the order of the examples. */
  readonly outputs: Tensor;
}

/**
 * Outputs and mean loss of every example, in order.
 *
 * @throws {NotFiniteError} When a loss is not finite: names the rows, and the first tensor that is not finite either
 */
export function datasetOutputs(
  model: Model,
  dataset: Dataset,
  options: DatasetLossOptions = {},
): Promise<DatasetOutputs> {
  return explained(model, options.adapter ?? null, () => allOutputs(model, dataset, options));
}

async function allOutputs(
  model: Model,
  dataset: Dataset,
  { microBatchSize = 8, hooks = {}, onProgress }: DatasetLossOptions,
): Promise<DatasetOutputs> {
  let [lossSum, targets, tokens, done] = [0, 0, 0, 0];
  const rows: ArrayLike<number>[] = [];
  let cols = 0;
  for (const { batch, examples } of sequentialBatches(dataset, microBatchSize)) {
    const part = await evaluateOutputs(model, batch, hooks);
    if (!Number.isFinite(part.lossSum)) {
      throw new NotFiniteError(`The loss of ${nameRows(dataset, examples)} is ${part.lossSum}`);
    }
    rows.push(part.outputs.data);
    cols = part.outputs.shape[1] ?? 0;
    lossSum += part.lossSum;
    targets += part.targetCount;
    tokens += batchTokens(batch);
    done += examples.length;
    onProgress?.(done);
  }
  const data = new Float64Array(exampleCount(dataset) * cols);
  let filled = 0;
  for (const part of rows) {
    data.set(part, filled);
    filled += part.length;
  }
  return {
    loss: lossSum / targets,
    targets,
    tokens,
    outputs: { shape: [exampleCount(dataset), cols], data },
  };
}

/** A score of outputs, with how sure it is. */
function estimateScore(
  scoring: OutputScoring,
  metric: string,
  labels: ExampleLabels,
  outputs: Tensor,
): Estimate {
  const [count = 0, cols = 0] = outputs.shape;
  if (scoring.shares?.includes(metric)) {
    return proportion(Math.round(scoring.score(metric, labels, outputs) * count), count);
  }
  return drawnEstimate(
    count,
    cols,
    (rows) => scoring.score(metric, labelsOf(labels, rows), rowsOf(outputs, rows)),
  );
}

function labelsOf(labels: ExampleLabels, rows: Int32Array): ExampleLabels {
  if (labels.kind === "classes") return { ...labels, of: rows.map((row) => labels.of[row] as number) };
  return { ...labels, of: Float64Array.from(rows, (row) => labels.of[row] as number) };
}

function rowsOf({ shape, data }: Tensor, rows: Int32Array): Tensor {
  const [, cols = 0] = shape;
  const drawn = new Float64Array(rows.length * cols);
  rows.forEach((row, i) => drawn.set(data.subarray(row * cols, (row + 1) * cols), i * cols));
  return { shape, data: drawn };
}

/** All scores that were asked for. */
export function estimateScores(
  scoring: OutputScoring,
  metrics: readonly string[],
  labels: ExampleLabels,
  outputs: Tensor,
): Map<string, Estimate> {
  return new Map(metrics.map((metric) => [metric, estimateScore(scoring, metric, labels, outputs)]));
}
