// SPDX-License-Identifier: Apache-2.0
/** What a task is: which head its models have, how its rows become examples, and how what comes out is scored. */
import { UserError } from "../core/errors.ts";
import { kebabCase } from "../core/options.ts";
import type { Dataset, ExampleLabels } from "../data/dataset.ts";
import type { LoadDataOptions } from "../data/load_data.ts";
import type { PromptReader } from "../data/prompt_reader.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import type { DecoderIds } from "../models/model.ts";
import type { ModelInput } from "../models/parts.ts";
import type { ChoiceSet, Question } from "./choice_data.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A model, as far as its data depends on it. */
export interface TaskModel {
  /** Its folder. */
  readonly dir: string;
  readonly config: {
    /** Of the task. */
    readonly head: HeadConfig;
    /** Of a decoder behind an encoder. */
    readonly decoderIds?: DecoderIds;
  };
  /** @throws {UserError} When the folder has none */
  readonly tokenizer: Tokenizer;
}

/** What of a model decides which tasks are for it. */
export interface TaskBase {
  /** Its own head. */
  readonly head: HeadConfig;
  /** What it is given. */
  readonly takes: ModelInput["kind"];
  /** Whether its decoder writes what its encoder has read. Default false. */
  readonly readsSource?: boolean;
}

/**
 * How a task is scored: by the loss alone, by answers that are generated, by the likelihood of choices, or by what the head
 * gives for each row.
 */
export type Scoring = {
  readonly by: "loss" | "answers";
} | {
  readonly by: "choices";
  readonly metrics: readonly string[];
  /** All choices of data files. @throws {BadRowsError} When rows cannot be used */
  load(paths: readonly string[], model: TaskModel, options: LoadDataOptions): Promise<ChoiceSet>;
  /** Number of the choice that is taken. @param logLikelihoods (n) of all choices of the set */
  chosen(metric: string, question: Question, logLikelihoods: Float64Array): number;
} | {
  readonly by: "outputs";
  /** Names of the scores, in the order in which people are told of them. */
  readonly metrics: readonly string[];
  /** Those that only tell two classes apart: of others they are asked for by name alone. Default none. */
  readonly ofTwo?: readonly string[];
  /** Those that are shares of right rows, whose interval is Wilson's. Default none. */
  readonly shares?: readonly string[];
  /** @param outputs (n,O) what the head gave for each example */
  score(metric: string, labels: ExampleLabels, outputs: Tensor): number;
  /** What the head says of an example, for people. @param outputs (O) */
  predicted(outputs: ArrayLike<number>, head: HeadConfig): string | number;
};

/** Scores that a task has beside its loss. @param ofAnswers Those of generated answers */
export function metricsOf(scoring: Scoring, ofAnswers: readonly string[]): readonly string[] {
  if (scoring.by === "outputs" || scoring.by === "choices") return scoring.metrics;
  return scoring.by === "answers" ? ofAnswers : [];
}

/** Those that people are told of who ask for none: all that say something of the head. */
export function usualMetrics(
  scoring: Scoring,
  ofAnswers: readonly string[],
  head: HeadConfig,
): readonly string[] {
  const all = metricsOf(scoring, ofAnswers);
  const isOfTwo = !("labels" in head) || head.labels.length === 2;
  if (scoring.by !== "outputs" || isOfTwo) return all;
  return all.filter((metric) => scoring.ofTwo?.includes(metric) !== true);
}

/** Options of texts that are read and written. */
const OF_PAIRS = ["sourceField", "targetField", "sourcePrefix", "targetLen", "srcLang", "tgtLang"] as const;

/** @throws {UserError} When there are options of sources and targets, and the task has none */
export function checkPairOptions({ name, reads }: Task, options: LoadDataOptions): void {
  const given = OF_PAIRS.filter((option) => options[option] !== undefined).map((option) =>
    `--${kebabCase(option)}`
  );
  if (reads === "source" || given.length === 0) return;
  throw new UserError(
    `${
      given.join(", ")
    }: task ${name} has no sources and targets; leave it out, or take a model with encoder and decoder ` +
      `(task seq2seq)`,
  );
}

/** A task. */
export interface Task {
  readonly name: string;
  /** One sentence, for people who choose. */
  readonly summary: string;
  readonly scoring: Scoring;
  /** What its models are given. */
  readonly takes: ModelInput["kind"];
  /**
   * Whether its models read a source with an encoder and answer with a decoder (`source`), or go on with what they read (`own`).
   * Default: either, as heads on whole sequences do.
   */
  readonly reads?: "source" | "own";
  /** How what is asked becomes what its models are given. Default: as conversations and completions. */
  readonly prompts?: PromptReader;
  /** Whether a model's own head is one for this task: then it is the task where none is named. */
  suits(head: HeadConfig): boolean;
  /**
   * The head for data: the model's own where that suits, or one that has to be trained.
   *
   * @param own Of the model     @param paths Data that may name the labels
   * @throws {UserError} When the data names none
   */
  headFor(own: HeadConfig, paths: readonly string[]): Promise<HeadConfig>;
  /** Data files as examples. @throws {BadRowsError} When rows cannot be used, a label that the head does not have among them */
  load(paths: readonly string[], model: TaskModel, options: LoadDataOptions): Promise<Dataset>;
}
