// SPDX-License-Identifier: Apache-2.0
/** Classes of one text or two. */
import { accuracy, f1Binary, f1Macro, matthews } from "./metrics/classes.ts";
import { type HeadConfig, numberedHead } from "../models/heads/head_config.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { classesOf, type LabelHead, loadLabelled } from "./labelled_data.ts";
import type { Scoring, Task } from "./task.ts";

const METRICS: Readonly<Record<string, (truth: Int32Array, predicted: Int32Array) => number>> = {
  accuracy,
  "f1-binary": f1Binary,
  "f1-macro": f1Macro,
  matthews,
};

/** Scores of classes. */
export const CLASS_SCORING: Scoring = {
  by: "outputs",
  metrics: Object.keys(METRICS),
  ofTwo: ["f1-binary"],
  shares: ["accuracy"],
  score(metric, labels, outputs) {
    const [score, truth] = [METRICS[metric], labels.of];
    if (!score || !(truth instanceof Int32Array)) throw new RangeError(`Classes have no score "${metric}"`);
    return score(truth, largestOf(outputs));
  },
  predicted: (outputs, head) => (head as LabelHead).labels[largestAt(outputs)] as string,
};

/** See {@linkcode Task}. */
export const classification: Task = {
  name: "classification",
  summary: "a class of each row: one text or two, and a label",
  scoring: CLASS_SCORING,
  takes: "tokens",
  suits: givesClasses,
  headFor: (own, paths) => classHeadFor(own, paths, classesOf),
  load: (paths, { tokenizer, config }, options) =>
    loadLabelled(paths, tokenizer, config.head as LabelHead, options),
};

/** Whether a head tells classes apart. */
export function givesClasses(head: HeadConfig): boolean {
  return head.kind === "classification" && head.gives === "classes";
}

/**
 * A head for the classes of data: the model's own where it has one; without data two classes stand for any, to plan with.
 *
 * @param classesOf The classes of data
 * @throws {UserError} When rows name no labels that go together, or one alone
 */
export async function classHeadFor(
  own: HeadConfig,
  paths: readonly string[],
  classesOf: (paths: readonly string[]) => Promise<readonly string[]>,
): Promise<HeadConfig> {
  if (own.kind === "classification" && givesClasses(own) && own.assumed !== true) return own;
  if (paths.length === 0) return numberedHead(2);
  return { kind: "classification", gives: "classes", labels: await classesOf(paths) };
}

/** (n) the class that each row (C) gives most to; the first of those that tie. */
function largestOf({ shape: [rows = 0, cols = 0], data }: Tensor): Int32Array {
  return Int32Array.from({ length: rows }, (_, i) => largestAt(data.subarray(i * cols, (i + 1) * cols)));
}

function largestAt(row: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if ((row[i] as number) > (row[best] as number)) best = i;
  return best;
}
