// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task generate`: completes a prompt, streaming, or a file of prompts, several at once. A file or pipe gets the answer
 * byte for byte, a terminal nothing that it would obey.
 */
import { UserError } from "../../core/errors.ts";
import { integer, text, texts } from "../../core/options.ts";
import { BAD_ROWS_OPTION, FORMAT_OPTIONS } from "../../data/data_options.ts";
import { answerStart } from "../../evaluate/answer_start.ts";
import { BEAM_OPTIONS } from "../../evaluate/beams.ts";
import { SAMPLING_OPTIONS } from "../../evaluate/sampling.ts";
import { RULE_OPTIONS } from "../../evaluate/token_rules.ts";
import { yieldToEvents } from "../../core/event_loop.ts";
import { stopIds } from "../../data/examples.ts";
import type { Placed } from "../../data/load_data.ts";
import { formatPlace, type RowPlace } from "../../data/rows.ts";
import { readStdin } from "../../files/read.ts";
import { type Answer, ANSWER_OPTIONS, type FinishReason } from "../../evaluate/answer_options.ts";
import {
  generateAnswers,
  generateTokens,
  type GenerateTokensOptions,
} from "../../evaluate/generate_tokens.ts";
import { askText, loadQuestions } from "../../evaluate/questions.ts";
import { checkPairOptions } from "../../tasks/task.ts";
import { createProgress } from "../../report/progress.ts";
import { ADAPTER_SESSION_OPTIONS, type AdapterSession, openAdapterSession } from "../adapter_session.ts";
import { rowsResult } from "../data_summary.ts";
import { flagsOf, type FlagValues, valuesOf } from "../flags/flags.ts";
import { formatOptions, formatProblems } from "../flags/format.ts";
import { answerProblems } from "../flags/answers.ts";
import { listenForInterrupt } from "../interrupt.ts";
import type { Output } from "../output.ts";
import { PREDICTIONS_OPTION, predictionsProblems, writePredictions } from "../predictions.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";

const OPTIONS = {
  ...ADAPTER_SESSION_OPTIONS,
  ...FORMAT_OPTIONS,
  prompt: text({
    help: "the prompt, as it is typed",
    defaultText: "standard input, less its last line's end",
  }),
  prompts: text({
    placeholder: "FILE",
    path: true,
    help: "file of prompts: JSONL rows as for training, answers not needed; or any text, a prompt a line",
  }),
  ...BAD_ROWS_OPTION,
  ...PREDICTIONS_OPTION,
  maxNewTokens: { ...ANSWER_OPTIONS.maxNewTokens, help: "tokens of the answer at most" },
  microBatchSize: integer({ min: 1, default: 16, help: "prompts of a file answered at once" }),
  ...SAMPLING_OPTIONS,
  ...BEAM_OPTIONS,
  ...RULE_OPTIONS,
  seed: ANSWER_OPTIONS.seed,
  stop: texts({ help: "texts that end the answer" }),
} as const;

/** An answer as it is written down. */
interface Prediction {
  /** Null for a prompt of the command line or of standard input. */
  readonly place: RowPlace | null;
  /** All that the model was given, special tokens by name. */
  readonly prompt: string;
  readonly text: string;
  readonly finish: FinishReason | "interrupt";
  readonly promptTokens: number;
  readonly tokens: number;
}

/** Of a prompt on standard input: far more than any model has room for. */
const MOST_PROMPT_BYTES = 64 << 20;

/** The prompt given, or all of standard input but for the end of its last line; null when a file of prompts is named. */
async function readPrompt({ prompt, prompts }: FlagValues): Promise<string | null> {
  if (prompts !== undefined) return null;
  if (typeof prompt === "string") return prompt;
  const missing = "There is no prompt: give --prompt, --prompts, or text on standard input";
  if (Deno.stdin.isTerminal()) throw new UserError(missing);
  const text = (await readStdin(MOST_PROMPT_BYTES)).replace(/\r?\n$/, "");
  if (text === "") throw new UserError(missing);
  return text;
}

async function generateOptions(
  { model, hooks, adapter, tokenizer }: AdapterSession,
  values: FlagValues,
): Promise<GenerateTokensOptions> {
  const { microBatchSize } = valuesOf(OPTIONS, values);
  return {
    hooks,
    adapter,
    sequences: microBatchSize,
    stopIds: await stopIds(tokenizer, model.config.eosTokenIds, formatOptions(values)),
    ...answerStart(model.config, tokenizer, formatOptions(values)),
    ...valuesOf(ANSWER_OPTIONS, values),
    ...(values.stop === undefined ? {} : { stopStrings: values.stop as string[] }),
  };
}

function questionOptions({ model: { config }, task }: AdapterSession, values: FlagValues) {
  const format = formatOptions(values);
  checkPairOptions(task, format);
  const { badRows } = valuesOf(BAD_ROWS_OPTION, values);
  const reader = task.prompts && { reader: task.prompts };
  return { ...format, ...reader, room: config.maxPositionEmbeddings, badRows };
}

function describe(
  { tokenizer }: AdapterSession,
  ids: readonly number[],
  place: RowPlace | null,
): Pick<Prediction, "place" | "prompt" | "promptTokens"> {
  return { place, prompt: tokenizer.decode(ids, { keepSpecial: true }), promptTokens: ids.length };
}

/** Answers one prompt, streaming. */
async function answerOne(
  session: AdapterSession,
  text: string,
  values: FlagValues,
  output: Output,
): Promise<number> {
  const { model, tokenizer } = session;
  const ids = await askText(text, tokenizer, questionOptions(session, values));
  const options = await generateOptions(session, values);
  using interrupt = listenForInterrupt(() => output.write("\n"));
  const start = performance.now();
  let [answer, tokens, finish]: [string, number, Prediction["finish"]] = ["", 0, "length"];
  for await (const token of generateTokens(model, tokenizer, [ids], options)) {
    output.verbatim(token.text);
    answer += token.text;
    tokens++;
    finish = token.finish ?? finish;
    await yieldToEvents();
    if (!interrupt.signal.aborted || token.finish !== null) continue;
    finish = "interrupt";
    break;
  }
  output.write("\n");
  const seconds = (performance.now() - start) / 1000;
  const prediction = { ...describe(session, ids, null), text: answer, finish, tokens };
  await keep([prediction], values, output);
  const { prompt: _prompt, place: _place, ...rest } = prediction;
  output.result({ ...rest, tokensPerSecond: tokens / seconds });
  return finish === "interrupt" ? EXIT.interrupted : EXIT.done;
}

/** Answers a file of prompts, several at once; answers are shown in the order of the file. */
async function answerAll(
  session: AdapterSession,
  path: string,
  values: FlagValues,
  output: Output,
): Promise<number> {
  const { model, tokenizer } = session;
  const { items, report } = await loadQuestions(path, tokenizer, questionOptions(session, values));
  const options = await generateOptions(session, values);
  using interrupt = listenForInterrupt(() => output.write("\nStopping: answers that are there are kept.\n"));
  const start = performance.now();
  const progress = createProgress(output, "answering", items.length);
  const predictions: Prediction[] = [];
  let [done, shown] = [0, 0];
  const show = () => {
    for (let next = predictions[shown]; next !== undefined; next = predictions[++shown]) {
      progress.line(formatPlace(next.place as RowPlace));
      output.verbatim(`${next.text}\n\n`);
    }
  };
  const prompts = items.map(({ value }) => value);
  for await (const answer of generateAnswers(model, tokenizer, prompts, options)) {
    predictions[answer.index] = predictionOf(session, answer, items);
    progress.update(++done, answer.text.slice(0, 32));
    show();
    await yieldToEvents();
    if (interrupt.signal.aborted) break;
  }
  progress.finish();
  const answered = predictions.filter((prediction) => prediction !== undefined);
  await keep(answered, values, output);
  const seconds = (performance.now() - start) / 1000;
  const tokens = answered.reduce((sum, prediction) => sum + prediction.tokens, 0);
  output.result({ answers: answered, ...rowsResult(report), tokens, tokensPerSecond: tokens / seconds });
  return answered.length < items.length ? EXIT.interrupted : EXIT.done;
}

function predictionOf(
  session: AdapterSession,
  { index, ids, text, finish }: Answer,
  items: readonly Placed<readonly number[]>[],
): Prediction {
  const { value, place } = items[index] as Placed<readonly number[]>;
  return { ...describe(session, value, place), text, finish, tokens: ids.length };
}

async function keep(predictions: readonly Prediction[], values: FlagValues, output: Output): Promise<void> {
  if (typeof values.predictions !== "string") return;
  await writePredictions(values.predictions, predictions);
  output.line(`answers in ${values.predictions}`);
}

function check(values: FlagValues): string[] {
  return [
    ...formatProblems(values),
    ...predictionsProblems(values),
    ...answerProblems(values),
    ...(values.prompt !== undefined && values.prompts !== undefined
      ? ["--prompt and --prompts exclude each other"]
      : []),
    ...(values["bad-rows"] !== undefined && values.prompts === undefined
      ? ["--bad-rows needs --prompts: a single prompt that cannot be used is an error"]
      : []),
  ];
}

async function run(values: FlagValues, output: Output): Promise<number> {
  const prompt = await readPrompt(values);
  using session = await openAdapterSession(values);
  return prompt === null
    ? await answerAll(session, values.prompts as string, values, output)
    : await answerOne(session, prompt, values, output);
}

/** The command. */
export const GENERATE: CommandSpec = {
  name: "generate",
  summary:
    "Completes a prompt, streaming, or a file of prompts; a model with a chat template is asked in conversation.",
  examples: [
    `deno task generate --prompt $'Question: Who founded Miawick?\\nAnswer:'   # a new line as the shell writes it`,
    'deno task generate --model checkpoints/llama --adapter runs/facts/adapter --prompt "Where was Mira Oldan born?"',
    "deno task generate --model checkpoints/qwen --system 'Answer in one word.' --thinking on --prompts questions.jsonl --predictions answers.jsonl",
    "deno task generate --temperature 0.8 --top-p 0.95 --seed 1 < prompt.txt",
  ],
  flags: flagsOf(OPTIONS),
  check,
  run,
};
