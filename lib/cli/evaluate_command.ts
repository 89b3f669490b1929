// SPDX-License-Identifier: Apache-2.0
/** `deno task evaluate`: scores a model, with or without an adapter. */
import { yieldToEvents } from "../core/event_loop.ts";
import { stopIds } from "../data/examples.ts";
import { firstRows } from "../data/dataset.ts";
import { loadData } from "../data/load_data.ts";
import { datasetLoss } from "../evaluate/loss.ts";
import {
  loadPrompts,
  type RowScore,
  SCORE_NAMES,
  type ScoreName,
  scoreRows,
  summarizeScores,
} from "../evaluate/score.ts";
import { formatLoss, formatShare } from "../report/format.ts";
import { createProgress } from "../report/progress.ts";
import { formatTable } from "../report/table.ts";
import { ADAPTER_SESSION_FLAGS, type AdapterSession, openAdapterSession } from "./adapter_session.ts";
import { DATA_FLAGS, dataOptions, dataPaths, dataSummary } from "./data_flags.ts";
import type { FlagValues } from "./flags.ts";
import type { Output } from "./output.ts";
import { type CommandSpec, EXIT } from "./program.ts";

const METRICS = ["loss", ...SCORE_NAMES] as const;

async function measureLoss(session: AdapterSession, values: FlagValues, output: Output) {
  const all = await loadData(dataPaths(values), session.tokenizer, dataOptions(values));
  const data = firstRows(all, (values.limit ?? Infinity) as number);
  output.line(dataSummary(data));
  const progress = createProgress(output, "loss", data.report.rowsUsed);
  const result = await datasetLoss(session.model, data, {
    hooks: session.hooks,
    microBatchSize: (values["micro-batch-size"] ?? 8) as number,
    onProgress: (done) => progress.update(done, ""),
  });
  progress.finish();
  return result;
}

async function measureScores(
  session: AdapterSession,
  names: readonly ScoreName[],
  values: FlagValues,
  output: Output,
): Promise<RowScore[]> {
  const { model, hooks, tokenizer } = session;
  const { chatTemplate = "auto", badRows = "stop" } = dataOptions(values);
  const { items } = await loadPrompts(dataPaths(values), tokenizer, { chatTemplate, badRows, scores: names });
  const limited = items.slice(0, (values.limit ?? items.length) as number);
  const progress = createProgress(output, "answering", limited.length);
  const rows: RowScore[] = [];
  const answers = scoreRows(model, tokenizer, limited, names, {
    hooks,
    maxNewTokens: (values["max-new-tokens"] ?? 256) as number,
    sequences: (values["micro-batch-size"] ?? 16) as number,
    stopIds: await stopIds(tokenizer, model.config.eosTokenIds, { chatTemplate }),
    ...(values.stop === undefined ? {} : { stopStrings: values.stop as string[] }),
  });
  for await (const row of answers) {
    rows.push(row);
    progress.update(rows.length, row.prediction.slice(0, 32).replaceAll("\n", " "));
    await yieldToEvents();
  }
  progress.finish();
  return rows.sort((a, b) => a.place.file === b.place.file ? a.place.line - b.place.line : 0);
}

async function run(values: FlagValues, output: Output): Promise<number> {
  const metrics = (values.metric ?? ["loss"]) as readonly (typeof METRICS)[number][];
  const names = metrics.filter((name): name is ScoreName => name !== "loss");
  using session = await openAdapterSession(values);
  const loss = metrics.includes("loss") ? await measureLoss(session, values, output) : null;
  const rows = names.length > 0 ? await measureScores(session, names, values, output) : [];
  const scores = names.length > 0 ? summarizeScores(rows, names) : new Map();
  const table = [["metric", "value", "95 % interval", "of"]];
  if (loss) {
    table.push(["loss", formatLoss(loss.loss), "", `${loss.targets} tokens`]);
    table.push(["perplexity", loss.perplexity.toPrecision(5), "", `${loss.targets} tokens`]);
  }
  for (const [name, { mean, low, high, count }] of scores) {
    table.push([name, formatShare(mean), `${formatShare(low)} to ${formatShare(high)}`, `${count} rows`]);
  }
  output.line(formatTable(table));
  if (typeof values.predictions === "string") {
    await Deno.writeTextFile(values.predictions, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    output.line(`answers in ${values.predictions}`);
  }
  output.result({ ...(loss ?? {}), scores: Object.fromEntries(scores) });
  return EXIT.done;
}

/** The command. */
export const EVALUATE: CommandSpec = {
  name: "evaluate",
  summary: "Scores a model, with or without an adapter: loss and perplexity, exact match, F1, GSM8K answers.",
  examples: [
    "deno task evaluate --model checkpoints/llama --adapter runs/facts/adapter --data facts.jsonl --metric exact-match f1",
    "deno task evaluate --model checkpoints/llama --data gsm8k.jsonl --metric gsm8k-strict --limit 200 --predictions answers.jsonl",
  ],
  flags: [
    ...ADAPTER_SESSION_FLAGS.filter(({ name }) => !DATA_FLAGS.some((flag) => flag.name === name)),
    ...DATA_FLAGS,
    { name: "metric", kind: "texts", choices: METRICS, help: "what is measured", defaultText: "loss" },
    { name: "limit", kind: "integer", min: 1, help: "rows to score, from the first", defaultText: "all" },
    {
      name: "max-new-tokens",
      kind: "integer",
      min: 1,
      help: "tokens of an answer at most",
      defaultText: "256",
    },
    {
      name: "micro-batch-size",
      kind: "integer",
      min: 1,
      help: "rows computed at once",
      defaultText: "8; answers 16",
    },
    { name: "stop", kind: "texts", help: "texts that end an answer" },
    { name: "predictions", kind: "text", help: "JSONL file for the answers, row by row" },
  ],
  run,
};
