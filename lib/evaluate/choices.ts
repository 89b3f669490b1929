// SPDX-License-Identifier: Apache-2.0
/** How likely a model holds each choice of a question. */
import { NotFiniteError } from "../core/errors.ts";
import { sequentialBatches } from "../data/batches.ts";
import { evaluateTokens } from "../models/engine/pass.ts";
import type { Model } from "../models/model.ts";
import type { ChoiceSet } from "../tasks/choice_data.ts";
import type { Scoring } from "../tasks/task.ts";
import { type DatasetLossOptions, nameRows } from "./loss.ts";
import { type Estimate, proportion } from "./metrics.ts";
import { explained } from "./not_finite.ts";

/** Scores by the likelihood of choices. */
export type ChoiceScoring = Extract<Scoring, { by: "choices" }>;

/**
 * (n) log-likelihood of each choice's tokens, in nats.
 *
 * @throws {NotFiniteError} When one is not finite: names the rows, and the first tensor that is not finite either
 */
export function choiceLikelihoods(
  model: Model,
  { data }: ChoiceSet,
  options: DatasetLossOptions = {},
): Promise<Float64Array> {
  const { microBatchSize = 8, hooks = {}, onProgress } = options;
  return explained(model, options.adapter ?? null, async () => {
    const found: number[] = [];
    for (const { batch, examples } of sequentialBatches(data, microBatchSize)) {
      const losses = await evaluateTokens(model, batch, hooks);
      for (let s = 0; s < examples.length; s++) {
        let sum = 0;
        for (const loss of losses.subarray(batch.starts[s], batch.starts[s + 1])) sum += loss;
        found.push(-sum);
      }
      if (!found.every(Number.isFinite)) {
        throw new NotFiniteError(`The likelihood of ${nameRows(data, examples)} is not finite`);
      }
      onProgress?.(found.length);
    }
    return Float64Array.from(found);
  });
}

/** Share of the questions whose choice is right, by each score. */
export function estimateChoices(
  { chosen }: ChoiceScoring,
  metrics: readonly string[],
  { questions }: ChoiceSet,
  logLikelihoods: Float64Array,
): Map<string, Estimate> {
  return new Map(metrics.map((metric) => {
    const right = questions.filter((question) =>
      chosen(metric, question, logLikelihoods) === question.answer
    );
    return [metric, proportion(right.length, questions.length)];
  }));
}
