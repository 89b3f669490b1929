// SPDX-License-Identifier: Apache-2.0
/** The tasks there are: adding one is one file and one line here. */
import { UserError } from "../core/errors.ts";
import { choice } from "../core/options.ts";
import { didYouMean } from "../core/suggestion.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import { causalLm } from "./causal_lm.ts";
import { classification } from "./classification.ts";
import { maskedLm } from "./masked_lm.ts";
import { regression } from "./regression.ts";
import type { Task } from "./task.ts";

/** All tasks, in the order in which people are told of them. */
export const TASKS: readonly Task[] = [causalLm, maskedLm, classification, regression];

/** Their names. */
export const TASK_NAMES: readonly string[] = TASKS.map(({ name }) => name);

/** Which task it is. */
export const TASK_OPTIONS = {
  /** Default: that of the model's own head. */
  task: choice(TASK_NAMES, {
    identity: "head",
    help: "what is learnt: " + TASKS.map(({ name, summary }) => `${name} (${summary})`).join("; "),
    defaultText: "that of the model's head",
  }),
} as const;

/** Scores of all tasks that are taken of what a head gives. */
export const TASK_METRICS: readonly string[] = [
  ...new Set(TASKS.flatMap(({ scoring }) => scoring.by === "outputs" ? scoring.metrics : [])),
];

/**
 * A task by name; without one that which a model's head is for.
 *
 * @throws {UserError} When there is no such task
 */
export function taskOf(name: string | undefined, head: HeadConfig): Task {
  const task = name === undefined
    ? TASKS.find((known) => known.suits(head))
    : TASKS.find((known) => known.name === name);
  if (task) return task;
  throw new UserError(
    `There is no task "${name ?? head.kind}"${didYouMean(name ?? "", TASK_NAMES)} (there are: ${
      TASK_NAMES.join(", ")
    })`,
  );
}
