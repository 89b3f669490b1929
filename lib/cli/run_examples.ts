// SPDX-License-Identifier: Apache-2.0
/** The questions of a run's report, asked before the first step and after the last. */
import { attachAdapter } from "../adapters/attach.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import { makeMicroBatch } from "../data/batches.ts";
import { type Dataset, exampleCount, type ExampleLabels } from "../data/dataset.ts";
import { stopIds } from "../data/examples.ts";
import { labelText } from "../data/preview.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { answerStart } from "../evaluate/answer_start.ts";
import type { OutputScoring } from "../evaluate/outputs.ts";
import { answerQuestions, type SampleQuestion, sampleQuestions } from "../evaluate/sample_answers.ts";
import { evaluateOutputs } from "../models/engine/pass.ts";
import type { Task } from "../tasks/task.ts";
import { type Example, readExamples } from "../report/run_record.ts";
import { loadAdapter } from "../train/adapters.ts";
import type { OpenModel } from "../train/open_model.ts";
import type { Run } from "../train/plan.ts";
import { formatOptions } from "./flags/format.ts";
import { type FlagValues, valuesOf } from "./flags/flags.ts";
import { REPORT_OPTIONS } from "./flags/report.ts";
import type { Output } from "./output.ts";

const ANSWER_TOKENS = 32;

/** A question, or a text that has a label. */
interface Asked extends SampleQuestion {
  /** Of a labelled text: its number in the data. */
  readonly example?: number;
}

/** What is asked of whom. */
export interface ExampleSession {
  readonly model: OpenModel;
  readonly run: Run;
  /** Where the questions come from: the evaluation data, or the training data when there is none. */
  readonly data: Dataset;
  readonly task: Task;
  readonly values: FlagValues;
  readonly output: Output;
}

/** A resumed run keeps the answers that were given before its first step. */
export async function answersBefore(
  out: string,
  session: ExampleSession,
): Promise<readonly Example[]> {
  const { model, run, values } = session;
  const earlier = values.resume === true ? await readEarlier(out, session) : [];
  if (earlier.length > 0) return earlier;
  const questions = questionsOf(session);
  const start = run.start ? await loadAdapter(model, run.start.folder) : null;
  const answers = await ask(questions, start, session, "before");
  start?.release();
  return questions.map(({ prompt, expected }, i) => ({
    prompt,
    expected: [expected],
    before: answers[i] as string,
    after: null,
  }));
}

/** What the report shows is no reason not to go on: the same questions give the same answers again. */
async function readEarlier(out: string, { output }: ExampleSession): Promise<readonly Example[]> {
  try {
    return await readExamples(out);
  } catch (error) {
    output.line(`The report's questions are asked again: ${(error as Error).message}`);
    return [];
  }
}

/** The examples with the answers of the trained model. */
export async function answersAfter(
  examples: readonly Example[],
  adapter: AdapterParams,
  session: ExampleSession,
): Promise<Example[]> {
  const questions = questionsOf(session);
  const answers = await ask(questions, adapter, session, "after");
  const byPrompt = new Map(questions.map(({ prompt }, i) => [prompt, answers[i] as string]));
  return examples.map((example) => ({ ...example, after: byPrompt.get(example.prompt) ?? null }));
}

function questionsOf({ model, data, task, values }: ExampleSession): Asked[] {
  if (data.pictures !== undefined || task.scoring.by === "loss") return []; // nothing that could be read
  const count = valuesOf(REPORT_OPTIONS, values).examples;
  if (data.labels !== undefined) return sampleLabels(data, model.tokenizer, count);
  return sampleQuestions(data, model.tokenizer, count, model.config.maxPositionEmbeddings);
}

/** At most `count` texts from all over labelled data, with their labels. */
function sampleLabels(data: Dataset, tokenizer: Tokenizer, count: number): Asked[] {
  const all = exampleCount(data);
  const shown = Math.min(count, all);
  return Array.from({ length: shown }, (_, i) => {
    const example = Math.floor(i * all / shown);
    const ids = [...data.ids.subarray(data.offsets[example], data.offsets[example + 1])];
    const expected = String(labelText(data.labels as ExampleLabels, example));
    return { ids, prompt: tokenizer.decode(ids).trim(), expected, example };
  });
}

/** What the head says of labelled texts; nothing before it has any values. */
async function predict(
  questions: readonly Asked[],
  adapter: AdapterParams | null,
  { model: base, data }: ExampleSession,
  { predicted }: OutputScoring,
): Promise<string[]> {
  if (adapter === null && base.fresh.size > 0) return questions.map(() => "");
  const { model, hooks } = attachAdapter(base, adapter);
  const { batch } = makeMicroBatch(data, Int32Array.from(questions, ({ example = 0 }) => example));
  const { outputs: { shape: [, cols = 0], data: outputs } } = await evaluateOutputs(model, batch, hooks);
  return questions.map((_, i) =>
    String(predicted(outputs.subarray(i * cols, (i + 1) * cols), model.config.head))
  );
}

async function ask(
  questions: readonly Asked[],
  adapter: AdapterParams | null,
  session: ExampleSession,
  moment: "before" | "after",
): Promise<string[]> {
  if (questions.length === 0) return [];
  const { model: base, task: { scoring }, values, output } = session;
  if (scoring.by === "outputs") return await predict(questions, adapter, session, scoring);
  output.line(`asking ${questions.length} questions for the report ${moment} training`);
  const { tokenizer } = base;
  const { model, hooks } = attachAdapter(base, adapter);
  return await answerQuestions(model, tokenizer, questions, {
    hooks,
    adapter,
    maxNewTokens: ANSWER_TOKENS,
    stopIds: await stopIds(tokenizer, model.config.eosTokenIds, formatOptions(values)),
    ...answerStart(model.config, tokenizer, formatOptions(values)),
  });
}
