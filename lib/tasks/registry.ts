// SPDX-License-Identifier: Apache-2.0
/** The tasks there are: adding one is one file and one line here. */
import { UserError } from "../core/errors.ts";
import { choice, toggle } from "../core/options.ts";
import { didYouMean } from "../core/suggestion.ts";
import { causalLm } from "./causal_lm.ts";
import { classification } from "./classification.ts";
import { imageClassification } from "./image_classification.ts";
import { maskedLm } from "./masked_lm.ts";
import { multipleChoice } from "./multiple_choice.ts";
import { regression } from "./regression.ts";
import { seq2seq } from "./seq2seq.ts";
import { metricsOf, type Task, type TaskBase } from "./task.ts";

/** All tasks, in the order in which people are told of them. */
export const TASKS: readonly Task[] = [
  causalLm,
  maskedLm,
  classification,
  regression,
  multipleChoice,
  seq2seq,
  imageClassification,
];

/** What models are given, in words. */
const GIVEN: Readonly<Record<Task["takes"], string>> = { tokens: "texts", patches: "pictures" };

/** What models do with it, in words. */
const READING = {
  source: "reads a text with its encoder and writes another",
  own: "goes on with what it reads",
} as const;

/** Their names. */
const TASK_NAMES: readonly string[] = TASKS.map(({ name }) => name);

/** Which task it is. */
export const TASK_OPTIONS = {
  /** Default: that of the model's own head. */
  task: choice(TASK_NAMES, {
    identity: "head",
    help: "what is learnt: " + TASKS.map(({ name, summary }) => `${name} (${summary})`).join("; "),
    defaultText: "that of the model's head",
  }),
} as const;

/** Which head it begins with. */
export const HEAD_OPTIONS = {
  /** Whether the head begins anew with the labels of the data, whatever head the model has. Default false: the model's own. */
  newHead: toggle({
    default: false,
    identity: "head",
    help: "begin with a head for the labels of --data, though the model has one for others",
  }),
} as const;

/** Scores of all tasks but those of generated answers. */
export const TASK_METRICS: readonly string[] = [
  ...new Set(TASKS.flatMap(({ scoring }) => metricsOf(scoring, []))),
];

/**
 * A task by name; without one that which a model and its head are for.
 *
 * @throws {UserError} When there is no such task, or it is for other models
 */
export function taskOf(name: string | undefined, { head, takes, readsSource = false }: TaskBase): Task {
  const reads = readsSource ? "source" : "own";
  const possible = TASKS.filter((known) => known.takes === takes && (known.reads ?? reads) === reads);
  const task = name === undefined
    ? possible.find((known) => known.suits(head))
    : TASKS.find((known) => known.name === name);
  if (task !== undefined && possible.includes(task)) return task;
  if (task?.takes === takes) {
    throw new UserError(
      `The model ${READING[reads]}, task ${task.name} is for one that ${
        READING[task.reads ?? reads]
      } (for this one there ` +
        `are: ${possible.map(({ name }) => name).join(", ")})`,
    );
  }
  if (task !== undefined) {
    throw new UserError(
      `The model takes ${GIVEN[takes]}, task ${task.name} is for models of ${
        GIVEN[task.takes]
      } (for this one there are: ${possible.map(({ name }) => name).join(", ")})`,
    );
  }
  throw new UserError(
    `There is no task "${name ?? head.kind}"${didYouMean(name ?? "", TASK_NAMES)} (there are: ${
      TASK_NAMES.join(", ")
    })`,
  );
}
