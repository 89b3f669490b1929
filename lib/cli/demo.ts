// SPDX-License-Identifier: Apache-2.0
/** The demo that `deno task train` runs without flags: how well the facts are known, and what else was forgotten. */
import { attachAdapter } from "../adapters/attach.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import { yieldToEvents } from "../core/event_loop.ts";
import { stopIds } from "../data/examples.ts";
import { loadData } from "../data/load_data.ts";
import { datasetLoss } from "../evaluate/loss.ts";
import type { Estimate } from "../evaluate/metrics.ts";
import { loadPrompts, type RowScore, scoreRows, summarizeScores } from "../evaluate/score.ts";
import { readTextSync } from "../files/read.ts";
import { DEFAULT_METHOD } from "../methods/methods.ts";
import { formatLoss, formatShare } from "../report/format.ts";
import { createProgress } from "../report/progress.ts";
import { formatTable } from "../report/table.ts";
import type { OpenModel } from "../train/open_model.ts";
import { SETTINGS } from "../train/setting_table.ts";
import { overlay } from "./flags/sources.ts";
import type { FlagValues } from "./flags/flags.ts";
import type { Output } from "./output.ts";
import { DEMO } from "./session.ts";
import { TRAIN_FLAGS } from "./flags/train.ts";

/** Flags of the demo: small enough for two minutes on two cores. */
export const DEMO_VALUES: FlagValues = {
  neurons: 1024,
  lr: 5e-4,
  "batch-size": 32,
  "micro-batch-size": 32,
  "seq-len": 64,
  epochs: 50,
};

/** The demo's flags under those that are given: those that apply to the method, and that no adapter to start from brings. */
export function withDemoValues(
  given: FlagValues,
  method = (given.method ?? DEFAULT_METHOD) as string,
): FlagValues {
  const applies = (name: string) => {
    const { methods = null, owner } = SETTINGS.find(({ flag }) => flag === name) ?? {};
    return (methods?.includes(method) ?? true) && !(given.adapter !== undefined && owner === "adapter");
  };
  return overlay(
    TRAIN_FLAGS,
    Object.fromEntries(Object.entries(DEMO_VALUES).filter(([name]) => applies(name))),
    given,
  );
}

/** What the model knows at one moment. */
export interface DemoMeasure {
  readonly exactMatch: Estimate;
  /** Mean loss on text that has nothing to do with the facts. */
  readonly generalLoss: number;
  readonly rows: readonly RowScore[];
}

/** Asks all questions and reads the held-out text, with or without an adapter. */
export async function measureDemo(
  base: OpenModel,
  adapter: AdapterParams | null,
  output: Output,
): Promise<DemoMeasure> {
  const { tokenizer } = base;
  const { model, hooks } = attachAdapter(base, adapter);
  const { items } = await loadPrompts(DEMO.facts, tokenizer);
  const options = {
    hooks,
    adapter,
    maxNewTokens: 16,
    sequences: 64,
    stopIds: await stopIds(tokenizer, model.config.eosTokenIds),
    stopStrings: ["\n"],
  };
  const progress = createProgress(output, adapter === null ? "asking before" : "asking after", items.length);
  const rows: RowScore[] = [];
  for await (const row of scoreRows(model, tokenizer, items, ["exact-match"], options)) {
    rows.push(row);
    progress.update(rows.length, `${row.prediction.slice(0, 24)}`);
    await yieldToEvents();
  }
  progress.finish();
  const general = await loadData(DEMO.general, tokenizer, { seqLen: 256 });
  const { loss } = await datasetLoss(model, general, { hooks, adapter, microBatchSize: 16 });
  return {
    exactMatch: summarizeScores(rows, ["exact-match"]).get("exact-match") as Estimate,
    generalLoss: loss,
    rows,
  };
}

const share = ({ mean, low, high }: Estimate) =>
  `${formatShare(mean)} (${formatShare(low)} to ${formatShare(high)})`;

/** Questions that were answered wrongly before, from all over the file, with both answers. */
function exampleRows(before: DemoMeasure, after: DemoMeasure): string[][] {
  const questions = readTextSync(DEMO.facts).split("\n");
  const wrong = before.rows.filter((row) => row.scores["exact-match"] === 0)
    .sort((a, b) => a.place.line - b.place.line);
  const chosen = new Set([0, 1, 2, 3].map((i) => wrong[Math.floor(i * (wrong.length - 1) / 3)]));
  return [...chosen].filter((row) => row !== undefined).map(({ place, prediction }) => [
    JSON.parse(questions[place.line - 1] as string).question,
    prediction,
    after.rows.find((row) => row.place.line === place.line)?.prediction ?? "",
  ]);
}

/** Prints what changed, with a few answers. Returns it for the JSON object. */
export function reportDemo(before: DemoMeasure, after: DemoMeasure, output: Output): Record<string, unknown> {
  output.line(
    "\n" + formatTable([["question", "answered before", "answers now"], ...exampleRows(before, after)]),
  );
  output.line(
    "\n" + formatTable([
      ["demo", "before", "after"],
      [
        `exact match on ${before.rows.length} taught facts`,
        share(before.exactMatch),
        share(after.exactMatch),
      ],
      ["loss on held-out general text", formatLoss(before.generalLoss), formatLoss(after.generalLoss)],
    ]),
  );
  return {
    exactMatchBefore: before.exactMatch.mean,
    exactMatchAfter: after.exactMatch.mean,
    facts: before.rows.length,
    generalLossBefore: before.generalLoss,
    generalLossAfter: after.generalLoss,
  };
}
