// SPDX-License-Identifier: Apache-2.0
/** `deno task ablate`: trains and scores every cell of a grid; killed, the same command goes on. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { choices, integer, text, toggle, values } from "../../core/options.ts";
import { throwIfAny } from "../../core/errors.ts";
import { visibleLine } from "../../core/visible_text.ts";
import { SCORE_NAMES } from "../../evaluate/score.ts";
import { failureRows, studyRows, writeStudyReport } from "../../report/ablation_report.ts";
import { formatBytes, formatCount } from "../../report/format.ts";
import { formatTable } from "../../report/table.ts";
import {
  ablate,
  type AblateOptions,
  type FinishedCell,
  listCells,
  type PlannedCell,
} from "../../study/ablate.ts";
import type { Grid } from "../../study/grid.ts";
import { SCORING_OPTIONS } from "../../study/scoring.ts";
import { groupBySeed } from "../../study/summary.ts";
import type { TrainSettings } from "../../train/settings.ts";
import { TASK_METRICS } from "../../tasks/registry.ts";
import { DEMO_VALUES } from "../demo.ts";
import { settingsOf } from "../flags/settings.ts";
import { flagsOf, type FlagValues } from "../flags/flags.ts";
import { GRID_FLAGS, readGrids, uselessFlags } from "../flags/grid.ts";
import { memoryProblem } from "../host_memory.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { formatProblems } from "../flags/format.ts";
import { type Output, printError, warn } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";
import { DEMO, warnOfCheckpoint } from "../session.ts";
import { studyProgress } from "../study_progress.ts";

const METRICS: readonly string[] = [...SCORE_NAMES, ...TASK_METRICS, "none"];

const OPTIONS = {
  grid: values({
    help:
      "KEY=v1,v2: values of a train flag to go through; several multiply. In a config file an object, or a list of them",
  }),
  seeds: values({ help: "1,2,3: every cell once with each seed", defaultText: "42" }),
  out: text({
    path: true,
    help: "folder of the study; given again, it goes on",
    defaultText: "runs/ablate-<hash of base and grid>",
  }),
  metric: choices(METRICS, {
    help: "scores on --eval-data, or else on --data",
    defaultText: "exact-match; all scores of a task with a head of its own",
  }),
  limit: SCORING_OPTIONS.limit,
  maxNewTokens: SCORING_OPTIONS.maxNewTokens,
  stop: SCORING_OPTIONS.stop,
  saveEvery: integer({ min: 1, help: "steps between checkpoints of a cell", defaultText: "a quarter" }),
  keepAdapters: toggle({ help: "keep every cell's trained adapter" }),
  list: toggle({ help: "check all cells, list them, and stop" }),
} as const;

/** Everything a study is. */
interface Study {
  readonly base: TrainSettings;
  readonly grids: readonly Grid[];
  readonly out: string;
  readonly options: AblateOptions;
}

function readStudy(values: FlagValues): Study {
  const problems: string[] = [];
  const texts = (name: string) => (values[name] ?? []) as readonly string[];
  if (values.model !== undefined && values.data === undefined) problems.push("--model needs --data");
  if (values.data !== undefined && values.model === undefined) problems.push("--data needs --model");
  if (texts("metric").includes("none") && texts("metric").length > 1) {
    problems.push("--metric none stands alone: no answers are scored");
  }
  const grids = readGrids(texts("grid"), texts("seeds"), problems);
  problems.push(...uselessFlags(values, grids));
  throwIfAny("The command line of ablate", problems);
  const ofTrain = Object.entries(values).filter(([name]) =>
    name === "save-every" || GRID_FLAGS.some((flag) => flag.name === name)
  );
  const demo = values.model === undefined ? { ...DEMO_VALUES, model: DEMO.model, data: [DEMO.facts] } : {};
  const base = settingsOf({ ...demo, ...Object.fromEntries(ofTrain) });
  const hash = createHash("sha256").update(JSON.stringify([base, grids])).digest("hex").slice(0, 8);
  const out = (values.out ?? join("runs", `ablate-${hash}`)) as string;
  const told = {
    checkMemory: memoryProblem,
    onModel: warnOfCheckpoint,
    onWarning: warn,
  };
  return { base, grids, out, options: { ...scoringOptions(values), out, ...told } };
}

function scoringOptions(values: FlagValues): AblateOptions {
  const metrics = values.metric as readonly string[] | undefined;
  return {
    ...(metrics && { metrics: metrics.filter((name) => name !== "none") }),
    ...(values.limit === undefined ? {} : { limit: values.limit as number }),
    ...(values["max-new-tokens"] === undefined ? {} : { maxNewTokens: values["max-new-tokens"] as number }),
    ...(values.stop === undefined ? {} : { stop: values.stop as readonly string[] }),
    keepAdapters: values["keep-adapters"] === true,
  };
}

function describeCells(cells: readonly PlannedCell[]): string {
  return formatTable([
    ["cell", "part", "steps", "trained", "memory", "state"],
    ...cells.map(({ label, parts, totalSteps, trainedParameters, predictedBytes, done }) => [
      label,
      parts.map(({ part }) => part).join(", "),
      String(totalSteps),
      formatCount(trainedParameters),
      formatBytes(predictedBytes),
      done ? "done" : "to run",
    ]),
  ]);
}

async function listStudy({ base, grids, options }: Study, output: Output): Promise<number> {
  const cells = await listCells(base, grids, options);
  output.line(describeCells(cells));
  output.result({ out: options.out, cells });
  return EXIT.done;
}

async function run(values: FlagValues, output: Output): Promise<number> {
  const study = readStudy(values);
  if (values.list === true) return await listStudy(study, output);
  const { base, grids, out, options } = study;
  const progress = studyProgress(output);
  using interrupt = listenForInterrupt(() =>
    output.write(
      "\nStopping after this step; the same command goes on from there. Ctrl-C again leaves at once.\n",
    )
  );
  const results: FinishedCell[] = [];
  const refreshReport = seldom(() => writeStudyReport(out, results));
  const { onCells, onStep } = progress;
  for await (const cell of ablate(base, grids, { ...options, onCells, onStep, signal: interrupt.signal })) {
    results.push(cell);
    progress.finishCell(cell);
    await refreshReport();
  }
  progress.finish();
  return await concludeStudy(results, out, interrupt.signal.aborted, output);
}

/** Share of a study's time that its page may take while it goes on. */
const REPORT_SHARE = 0.02;

/** The same work, left out while the last time would take more than its share. */
function seldom(work: () => Promise<unknown>): () => Promise<void> {
  let dueMs = 0;
  return async () => {
    const startMs = performance.now();
    if (startMs < dueMs) return;
    await work();
    const endMs = performance.now();
    dueMs = endMs + (endMs - startMs) / REPORT_SHARE;
  };
}

/** What standard error says of cells that failed. @param failures A head, and a row each */
function sayFailed([, first, ...others]: readonly (readonly string[])[], cells: number): string {
  const [label, reason] = first ?? [];
  return `${1 + others.length} of ${cells} cells failed; the first was "${label}": ${reason}`;
}

async function concludeStudy(
  results: readonly FinishedCell[],
  out: string,
  interrupted: boolean,
  output: Output,
): Promise<number> {
  const report = await writeStudyReport(out, results);
  const failures = failureRows(results);
  output.line(`\n${formatTable(studyRows(results))}`);
  if (failures.length > 0) output.line(`\n${formatTable(failures)}`);
  output.line(`\nresults.jsonl, results.csv and report.html in ${out}`);
  const failed = results.filter(({ status }) => status === "failed").length;
  const done = results.length - failed;
  if (failed > 0) printError(visibleLine(sayFailed(failures, results.length)));
  output.result({
    out,
    report,
    cells: results.length,
    done,
    failed,
    interrupted,
    configurations: groupBySeed(results),
  });
  if (interrupted) return EXIT.interrupted;
  return failed > 0 ? EXIT.failed : EXIT.done;
}

/** The command. */
export const ABLATE: CommandSpec = {
  name: "ablate",
  summary:
    "Trains and scores every cell of a grid; with no model named, on the demo. Killed, the same command goes on.",
  examples: [
    "deno task ablate --grid top-k=8,16,64 --grid experts=1,16,64 --active-experts 1 --seeds 1,2,3",
    "deno task ablate --model checkpoints/llama --data facts.jsonl --grid method=sparse,lora,full --out runs/methods",
    "deno task ablate --grid neurons=256,1024,4096 --list",
    "deno task ablate --config scripts/study/facts/study.json",
  ],
  flags: [...GRID_FLAGS, ...flagsOf(OPTIONS)],
  check: formatProblems,
  run,
};
