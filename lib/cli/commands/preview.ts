// SPDX-License-Identifier: Apache-2.0
/** `deno task preview`: the tokens and the loss mask that a data file gives. */
import { integer, text } from "../../core/options.ts";
import { DATA_OPTIONS } from "../../data/data_options.ts";
import { countBadRows } from "../../data/bad_rows.ts";
import { previewExamples, previewText } from "../../data/preview.ts";
import { withTokenizer } from "../../train/open_model.ts";
import { openVocabulary } from "../../train/open_vocabulary.ts";
import { dataSummary } from "../data_summary.ts";
import { dataPaths } from "../flags/data.ts";
import { createDataLoader } from "../data_loader.ts";
import { flagsOf, type FlagValues, valuesOf } from "../flags/flags.ts";
import { formatProblems } from "../flags/format.ts";
import { HEAD_OPTIONS, TASK_OPTIONS } from "../../tasks/registry.ts";
import { taskOfFlags } from "../flags/task.ts";
import type { Output } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";
import { modelFolder } from "../session.ts";

async function run(values: FlagValues, output: Output): Promise<number> {
  const dir = modelFolder(values);
  const { task, head, decoderIds } = await taskOfFlags(values);
  const own = { dir, config: { head, ...(decoderIds && { decoderIds }) } };
  const model = withTokenizer(own, await openVocabulary(dir, {}));
  const dataset = await createDataLoader(values, output, task)(dataPaths(values), model);
  const shown = previewExamples(dataset, model, valuesOf(OPTIONS, values).rows);
  output.line(previewText(shown, { color: output.color }));
  output.line(dataSummary(dataset));
  output.result({
    ...dataset.report,
    badRows: Object.fromEntries(countBadRows(dataset.report.badRows)),
    examples: shown,
  });
  return EXIT.done;
}

const OPTIONS = {
  model: text({ path: true, help: "Hugging Face checkpoint folder", defaultText: "the demo's model" }),
  ...TASK_OPTIONS,
  ...HEAD_OPTIONS,
  ...DATA_OPTIONS,
  rows: integer({ min: 0, default: 3, help: "rows to show" }),
} as const;

/** The command. */
export const PREVIEW: CommandSpec = {
  name: "preview",
  summary: "Shows the tokens and the loss mask that a data file gives.",
  examples: ["deno task preview --model checkpoints/llama --data facts.jsonl --rows 5"],
  flags: flagsOf(OPTIONS),
  check: formatProblems,
  run,
};
