// SPDX-License-Identifier: Apache-2.0
/** `deno task report`: the report of a run that has ended or goes on elsewhere, and its metrics for TensorBoard. */
import { join } from "node:path";
import { throwIfAny } from "../../core/errors.ts";
import { text, toggle } from "../../core/options.ts";
import { damageNote } from "../../report/metrics_summary.ts";
import { formatTable } from "../../report/table.ts";
import { writeEventFile } from "../../report/tensorboard/event_log.ts";
import { flagsOf, type FlagValues, valuesOf } from "../flags/flags.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { WATCH_OPTIONS } from "../flags/report.ts";
import type { Output } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";

async function run(values: FlagValues, output: Output): Promise<number> {
  throwIfAny("The command line of report", [
    ...(values.run === undefined ? ["--run is needed: the run folder"] : []),
    ...(values["watch-port"] !== undefined && values.watch !== true ? ["--watch-port needs --watch"] : []),
  ]);
  const folder = values.run as string;
  // Loaded here: a plotting library is no part of the other commands.
  const { renewRunReport, serveRunReport } = await import("../../report/run_report.ts");
  const { path: report, record: { metrics: { summary } } } = await renewRunReport(folder, null);
  const steps = summary.last?.step ?? 0;
  const damage = damageNote(summary);
  const events = values.tensorboard === true ? await writeEventFile(folder) : null;
  output.line(formatTable([
    ["report", ""],
    ["steps", String(steps)],
    ["page", report],
    ...(events === null ? [] : [["TensorBoard", `tensorboard --logdir ${join(folder, "tensorboard")}`]]),
  ]));
  if (damage !== null) output.line(`warning: ${damage}`);
  output.result({ run: folder, steps, damagedLines: summary.damagedLines, report, tensorboard: events });
  if (values.watch === true) {
    using interrupt = listenForInterrupt(() => {});
    const port = valuesOf(OPTIONS, values).watchPort;
    // Ctrl-C is how this ends, so it is no failure.
    await serveRunReport(folder, port, (url) => output.line(`watch the run at ${url}`), interrupt.signal);
  }
  return EXIT.done;
}

const OPTIONS = {
  run: text({ path: true, help: "run folder" }),
  ...WATCH_OPTIONS,
  tensorboard: toggle({ help: "write the metrics as a TensorBoard event file" }),
} as const;

/** The command. */
export const REPORT: CommandSpec = {
  name: "report",
  summary:
    "Writes a run's report.html anew, serves it while the run goes on elsewhere, converts its metrics for TensorBoard.",
  examples: [
    "deno task report --run runs/facts",
    "deno task report --run runs/facts --watch",
    "deno task report --run runs/facts --tensorboard && tensorboard --logdir runs/facts/tensorboard",
  ],
  flags: flagsOf(OPTIONS),
  run,
};
