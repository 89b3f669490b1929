// SPDX-License-Identifier: Apache-2.0
/** How cells are scored: which questions, which scores, how long an answer may be. The same for all cells of a study. */
import { attachAdapter } from "../adapters/attach.ts";
import { createHash } from "node:crypto";
import { UserError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { withDefaults } from "../core/option_checks.ts";
import { integer, type OptionsOf, texts } from "../core/options.ts";
import { yieldToEvents } from "../core/event_loop.ts";
import type { Placed } from "../data/load_data.ts";
import type { FormatOptions } from "../data/format_options.ts";
import { stopIds } from "../data/examples.ts";
import type { Prompt } from "../data/prompt_reader.ts";
import { answerStart } from "../evaluate/answer_start.ts";
import type { Estimate } from "../evaluate/metrics.ts";
import { type RowScore, SCORE_NAMES, type ScoreName, scoreRows, summarizeScores } from "../evaluate/score.ts";
import { metricsOf as taskMetrics, type Task, usualMetrics } from "../tasks/task.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import type { OpenModel } from "../train/open_model.ts";

/** What is asked, and how long an answer may be. */
export const SCORING_OPTIONS = {
  /** Questions that are asked, from the first. Default: all. */
  limit: integer({ min: 1, help: "questions to ask, from the first", defaultText: "all" }),
  /** Tokens of an answer at most. Default 32. */
  maxNewTokens: integer({ min: 1, default: 32, help: "tokens of an answer at most" }),
  /** Texts that end an answer. Default: a line's end. */
  stop: texts({ help: "texts that end an answer", defaultText: "a line's end" }),
  /** Questions answered at once. Does not change the answers but for rounding. Default 64. */
  sequences: integer({ min: 1, default: 64, setting: null, help: "questions answered at once" }),
} as const;

/** Choices of scoring. */
export interface ScoringOptions extends Omit<OptionsOf<typeof SCORING_OPTIONS>, "stop"> {
  /** Scores; empty to take none. Default: exact match of answers, or the usual ones of a task with a head of its own. */
  readonly metrics?: readonly string[];
  /** Texts that end an answer. Default: a line's end. */
  readonly stop?: readonly string[];
}

/** {@linkcode ScoringOptions}, all decided. */
export type Scoring = Required<Omit<ScoringOptions, "limit" | "metrics">> & {
  readonly limit: number | null;
  /** Null: what the task has. */
  readonly metrics: readonly string[] | null;
};

/** Decides all choices. */
export function resolveScoring(options: ScoringOptions): Scoring {
  const { limit = null, maxNewTokens, sequences } = withDefaults(SCORING_OPTIONS, options);
  const { metrics = null, stop = ["\n"] } = options;
  return { metrics, limit, maxNewTokens, stop, sequences };
}

/** What is measured of a cell whose model has a head. @throws {UserError} When its task has no such score */
export function metricsOf(
  { metrics }: Scoring,
  { name, scoring }: Task,
  head: HeadConfig,
): readonly string[] {
  const own = taskMetrics(scoring, SCORE_NAMES);
  const foreign = metrics?.find((metric) => !own.includes(metric));
  if (foreign !== undefined) {
    throw new UserError(`${foreign} is no score of ${name}, which has: ${own.join(", ")}`);
  }
  return metrics ?? (scoring.by === "answers" ? ["exact-match"] : usualMetrics(scoring, SCORE_NAMES, head));
}

/** Scores whose rules have changed since studies first took them: cells that were scored by older ones run again. */
const RULES: Readonly<Record<string, string>> = {
  gsm8k: "gsm8k-strict of the lm-evaluation-harness",
  "gsm8k-flexible": "gsm8k-flexible of the lm-evaluation-harness",
};

/** What of the scoring decides its results. */
export function scoringIdentity(scoring: Scoring, metrics: readonly string[]): JsonObject {
  const { limit, maxNewTokens, stop } = scoring;
  return { metrics: metrics.map((name) => RULES[name] ?? name), limit, maxNewTokens, stop: [...stop] };
}

/**
 * What is asked, which answers are right, and what ends one. The rows alone do not say: a chat template asks otherwise than it
 * trains, a row may accept several answers, and a checkpoint names its ends apart from its weights.
 */
export async function questionsHash(
  prompts: readonly Placed<Prompt>[],
  { tokenizer, config }: OpenModel,
  format: FormatOptions,
): Promise<string> {
  const hash = createHash("sha256");
  const ends = await stopIds(tokenizer, config.eosTokenIds, format);
  hash.update(JSON.stringify([...ends].sort((a, b) => a - b)));
  for (const { value: { ids, answers } } of prompts) hash.update(`\n${JSON.stringify([ids, answers])}`);
  return hash.digest("hex");
}

/** Asks all questions of a model as it was trained. Empty when there is no score to take. */
export async function scoreAdapter(
  open: OpenModel,
  adapter: AdapterParams,
  prompts: readonly Placed<Prompt>[],
  names: readonly string[],
  scoring: Scoring,
  format: FormatOptions,
): Promise<Readonly<Record<string, Estimate>>> {
  const metrics = names as readonly ScoreName[];
  if (metrics.length === 0) return {};
  const { model, hooks } = attachAdapter(open, adapter);
  const rows: RowScore[] = [];
  const answers = scoreRows(model, open.tokenizer, prompts, metrics, {
    hooks,
    adapter,
    maxNewTokens: scoring.maxNewTokens,
    sequences: scoring.sequences,
    stopIds: await stopIds(open.tokenizer, model.config.eosTokenIds, format),
    ...answerStart(model.config, open.tokenizer, format),
    stopStrings: scoring.stop,
  });
  for await (const row of answers) {
    rows.push(row);
    await yieldToEvents();
  }
  return Object.fromEntries(summarizeScores(rows, metrics));
}
