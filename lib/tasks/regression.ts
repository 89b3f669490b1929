// SPDX-License-Identifier: Apache-2.0
/** A value for one text or two. */
import type { HeadConfig } from "../models/heads/head_config.ts";
import { type LabelHead, loadLabelled } from "./labelled_data.ts";
import { pearson, spearman } from "./metrics/values.ts";
import type { Task } from "./task.ts";

const METRICS: Readonly<Record<string, (truth: Float64Array, predicted: Float64Array) => number>> = {
  pearson,
  spearman,
};

/** The head of a value, which has no name. */
const VALUE: HeadConfig = { kind: "classification", gives: "values", labels: ["LABEL_0"] };

/** See {@linkcode Task}. */
export const regression: Task = {
  name: "regression",
  summary: "a value of each row: one text or two, and a number",
  scoring: {
    by: "outputs",
    metrics: Object.keys(METRICS),
    score(metric, labels, { data }) {
      const [score, truth] = [METRICS[metric], labels.of];
      if (!score || !(truth instanceof Float64Array)) {
        throw new RangeError(`Values have no score "${metric}"`);
      }
      return score(truth, Float64Array.from(data));
    },
    predicted: (outputs) => outputs[0] ?? NaN,
  },
  takes: "tokens",
  suits,
  headFor: (own) => Promise.resolve(suits(own) ? own : VALUE),
  load: (paths, { tokenizer, config }, options) =>
    loadLabelled(paths, tokenizer, config.head as LabelHead, options),
};

function suits(head: HeadConfig): boolean {
  return head.kind === "classification" && head.gives === "values";
}
