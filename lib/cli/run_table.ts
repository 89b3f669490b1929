// SPDX-License-Identifier: Apache-2.0
/** What a run is, before it starts: model, method with its sizes, data. */
import { isJsonObject, type Json } from "../core/json.ts";
import { quotedNames } from "../core/quoted.ts";
import type { Dataset } from "../data/dataset.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import type { Task } from "../tasks/task.ts";
import { formatCount, formatShare } from "../report/format.ts";
import { formatPlacements } from "../report/placements.ts";
import { formatTable } from "../report/table.ts";
import type { StepPrediction } from "../predict/cost_model.ts";
import type { MemoryPrediction } from "../predict/memory.ts";
import type { Run } from "../train/plan.ts";
import { flagOfOption } from "../train/setting_table.ts";
import { dataSummary } from "./data_summary.ts";

/** `1.67 M parameters, 94.4 % of the model`. */
export function describeTrained(memory: MemoryPrediction): string {
  return `${formatCount(memory.trainedParameters)} parameters, ${
    formatShare(memory.adapterShare)
  } of the model`;
}

/** `q,v`, `q_proj=16, k_proj=4`, `0.1`. */
function configText(value: Json): string {
  if (!isJsonObject(value)) return String(value);
  return Object.entries(value).map(([key, item]) => `${key}=${item}`).join(", ");
}

/** What was predicted of a run. */
export interface Predicted {
  readonly memory: MemoryPrediction;
  /** Of the ways to compute with its rows; none where nothing was measured. */
  readonly placements?: readonly StepPrediction[];
}

/** The run and its data as tables; without data, the run alone. */
export function describeRun(
  run: Run,
  task: Pick<Task, "name">,
  { memory, placements = [] }: Predicted,
  data: Dataset | null,
): string {
  const { settings, method } = run;
  const config = Object.entries(run.adapterKind.config).map(([name, value]) => [
    `  ${flagOfOption("adapter", name)}`,
    configText(value),
  ]);
  const what = formatTable([
    ["run", ""],
    [
      "model",
      `${run.base.name} (${formatCount(memory.modelParameters)} parameters, ${run.model.config.modelType}${
        run.model.weightless ? ", no weights" : ""
      })`,
    ],
    ["task", task.name + classesText(run.model.config.head)],
    ["method", `${method.name}: ${method.summary}`],
    ...config,
    ["trained", describeTrained(memory)],
    ...(run.start ? [["starts from", run.start.folder]] : []),
    ["matrix products", run.model.kernels.compute],
    ...(run.adapterKind.placements.length > 1 ? [["rows", describeRows(run)]] : []),
    ["folder", settings.out ?? "none"],
  ]);
  return [
    what,
    ...(placements.length > 0 ? [formatPlacements(placements)] : []),
    ...(data === null ? [] : [dataSummary(data)]),
  ].join("\n\n");
}

/** `: 3 classes, "bad", "good", "mixed"`; nothing of other heads. */
function classesText(head: HeadConfig): string {
  if (head.kind !== "classification" || head.gives !== "classes") return "";
  return `: ${head.labels.length} classes, ${quotedNames(head.labels, 10)}`;
}

/** `placement host`, `placement device, 1024 of each layer cached, micro-batches in halves`. */
function describeRows({ rows: { placement, halves, cachedRows } }: Run): string {
  const cached = placement === "device" ? `, ${formatCount(cachedRows)} of each layer cached` : "";
  return `placement ${placement}${cached}${halves === 2 ? ", micro-batches in halves" : ""}`;
}
