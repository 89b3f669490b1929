// SPDX-License-Identifier: Apache-2.0
/** What a run is, before it starts: model, method with its sizes, data. */
import type { Dataset } from "../data/dataset.ts";
import { formatCount, formatShare } from "../report/format.ts";
import { formatTable } from "../report/table.ts";
import type { Run } from "../train/plan.ts";
import { dataSummary } from "./data_flags.ts";

/** `1.67 M parameters, 94.4 % of the model`. */
export function describeTrained({ memory }: Run): string {
  return `${formatCount(memory.trainedParameters)} parameters, ${
    formatShare(memory.adapterShare)
  } of the model`;
}

/** The run and its data as tables; without data, the run alone. */
export function describeRun(run: Run, data: Dataset | null): string {
  const { memory, settings, method } = run;
  const config = Object.entries(run.adapterKind.config).map(([name, value]) => [`  ${name}`, String(value)]);
  const what = formatTable([
    ["run", ""],
    [
      "model",
      `${run.base.name} (${formatCount(memory.modelParameters)} parameters, ${run.model.config.modelType}${
        run.model.weightless ? ", no weights" : ""
      })`,
    ],
    ["method", `${method.name}: ${method.summary}`],
    ...config,
    ["trained", describeTrained(run)],
    ...(run.start ? [["starts from", run.start.folder]] : []),
    ["matrix products", run.model.kernels.compute],
    ["folder", settings.out ?? "none"],
  ]);
  return data === null ? what : [what, formatTable(dataSummary(data))].join("\n\n");
}
