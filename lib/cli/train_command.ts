// SPDX-License-Identifier: Apache-2.0
/** `deno task train`: fine-tunes a model; with no flags, the demo. */
import { join } from "node:path";
import { otherBaseNotice, type SavedAdapter } from "../adapters/adapter_files.ts";
import { throwIfAny, UserError } from "../core/errors.ts";
import type { Dataset } from "../data/dataset.ts";
import { loadData } from "../data/load_data.ts";
import { formatBytes, formatCount, formatLoss, formatSeconds, formatShare } from "../report/format.ts";
import { formatMemory } from "../report/memory.ts";
import { formatTable } from "../report/table.ts";
import { openAdapter } from "../train/adapters.ts";
import type { OpenModel } from "../train/open_model.ts";
import { plan, type Run } from "../train/plan.ts";
import { methodName } from "../train/settings.ts";
import { dataOptions, dataPaths, dataSummary } from "./data_flags.ts";
import { measureDemo, reportDemo, withDemoValues } from "./demo.ts";
import { settingsOf } from "./flag_settings.ts";
import type { FlagValues } from "./flags.ts";
import { memoryProblem, peakHostBytes } from "./host_memory.ts";
import { openLiveReport } from "./live_report.ts";
import type { Output } from "./output.ts";
import { type CommandSpec, EXIT } from "./program.ts";
import { openModelOf } from "./session.ts";
import { TRAIN_FLAGS } from "./train_flags.ts";
import { adapterFlagName, readRunOptions, refuseForeignFlags, refuseSettledFlags } from "./train_options.ts";
import { type TrainingAccount, trainWithProgress } from "./training.ts";

/** What only shows when flags are seen together. */
function checkTogether(values: FlagValues, start: SavedAdapter | null): void {
  const problems: string[] = [];
  refuseForeignFlags(values, methodName(settingsOf(values), start), problems);
  refuseSettledFlags(values, problems);
  if (values.model !== undefined && values.data === undefined) problems.push("--model needs --data");
  if (values.data !== undefined && values.model === undefined) problems.push("--data needs --model");
  if (values.resume === true && values.out === undefined) {
    problems.push("--resume needs --out, the run to continue");
  }
  if (values["eval-every"] !== undefined && values["eval-data"] === undefined) {
    problems.push("--eval-every needs --eval-data");
  }
  throwIfAny("The command line of train", problems);
}

/** `runs/20261121-153012-sparse`. */
function defaultOut(name: string): string {
  return join(
    "runs",
    `${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}-${name}`,
  );
}

function describeTrained({ memory }: Run): string {
  return `${formatCount(memory.trainedParameters)} parameters, ${
    formatShare(memory.adapterShare)
  } of the model`;
}

function describeRun(run: Run, data: Dataset): string {
  const { memory, settings, method } = run;
  const config = Object.entries(run.adapterKind.config).map(([name, value]) => [
    `  ${adapterFlagName(name)}`,
    String(value),
  ]);
  const what = formatTable([
    ["run", ""],
    [
      "model",
      `${run.base.name} (${formatCount(memory.modelParameters)} parameters, ${run.model.config.modelType})`,
    ],
    ["method", `${method.name}: ${method.summary}`],
    ...config,
    [
      "trained",
      `${formatCount(memory.trainedParameters)} parameters, ${formatShare(memory.adapterShare)} of the model`,
    ],
    ...(run.start ? [["starts from", run.start.folder]] : []),
    ["matrix products", run.model.kernels.compute],
    ["folder", settings.out ?? "none"],
  ]);
  return [what, formatTable(dataSummary(data)), formatMemory(memory.bytes)].join("\n\n");
}

function describeAccount(run: Run, account: TrainingAccount): string {
  const loss = (value: number | null) => value === null ? "not measured" : formatLoss(value);
  return formatTable([
    ["result", ""],
    ["steps", `${account.steps}${account.interrupted ? ` of ${run.totalSteps}, interrupted` : ""}`],
    ["loss", `${loss(account.lossFirst)} to ${loss(account.lossLast)}`],
    ...(account.evalLoss === null ? [] : [["evaluation loss", loss(account.evalLoss)]]),
    ["trained", describeTrained(run)],
    ["time", `${formatSeconds(account.seconds)}, ${formatCount(account.tokensPerSecond)} tokens/s`],
    ["peak memory", formatBytes(peakHostBytes())],
    ["adapter", account.adapter ?? `none yet: continue with --resume --out ${run.settings.out}`],
    ["report", join(run.settings.out ?? "", "report.html")],
  ]);
}

function resultOf(run: Run, account: TrainingAccount, demo: unknown): Record<string, unknown> {
  return {
    steps: account.steps,
    interrupted: account.interrupted,
    tokens: account.tokens,
    lossFirst: account.lossFirst,
    lossLast: account.lossLast,
    eval: demo ?? (account.evalLoss === null ? null : { loss: account.evalLoss }),
    seconds: account.seconds,
    tokensPerSecond: account.tokensPerSecond,
    adapterParameters: run.memory.adapterParameters,
    trainableFraction: run.memory.trainedParameters / run.memory.modelParameters,
    peakHostBytes: peakHostBytes(),
    peakDeviceBytes: 0,
    adapter: account.adapter,
    out: run.settings.out,
  };
}

async function loadEvalData(values: FlagValues, model: OpenModel): Promise<Dataset | null> {
  if (values["eval-data"] === undefined) return null;
  return await loadData(values["eval-data"] as readonly string[], model.tokenizer, dataOptions(values));
}

async function run(given: FlagValues, output: Output): Promise<number> {
  const start = given.adapter === undefined ? null : await openAdapter(given.adapter as string);
  checkTogether(given, start);
  const isDemo = given.model === undefined;
  const values = isDemo ? withDemoValues(given) : given;
  using model = await openModelOf(values);
  const data = await loadData(dataPaths(values), model.tokenizer, dataOptions(values));
  const evalData = await loadEvalData(values, model);
  const out = (values.out ?? defaultOut(isDemo ? "demo" : methodName(settingsOf(values), start))) as string;
  const planned = plan(model, readRunOptions(values, start, out));
  const notice = start && otherBaseNotice(start, planned.base);
  if (notice) output.line(`${notice}\n`);
  output.line(`${describeRun(planned, data)}\n`);
  const tooLarge = memoryProblem(planned.memory);
  if (values["dry-run"] === true) {
    if (tooLarge !== null) output.line(`Not on this machine: ${tooLarge}`);
    output.result({ dryRun: true, memory: planned.memory, data: data.report, settings: planned.settings });
    return EXIT.done;
  }
  if (tooLarge !== null) throw new UserError(tooLarge);
  const examples = { model, run: planned, data: evalData ?? data, values, output };
  await using report = await openLiveReport(out, examples);
  const before = isDemo ? await measureDemo(model, null, output) : null;
  const options = { resume: values.resume === true, evalData, afterStep: report.afterStep };
  const account = await trainWithProgress(planned, data, options, output);
  const after = before && !account.interrupted ? await measureDemo(model, planned.adapter, output) : null;
  await report.finish(account.interrupted ? null : planned.adapter);
  const demo = before && after ? reportDemo(before, after, output) : null;
  output.line(`\n${describeAccount(planned, account)}`);
  output.result(resultOf(planned, account, demo));
  return account.interrupted ? EXIT.interrupted : EXIT.done;
}

/** The command. */
export const TRAIN: CommandSpec = {
  name: "train",
  summary: "Fine-tunes a Hugging Face checkpoint; with no flags, runs the demo.",
  examples: [
    "deno task train",
    "deno task train --model checkpoints/llama --data facts.jsonl --out runs/facts",
    "deno task train --model checkpoints/llama --data facts.jsonl --neurons 8192 --top-k 32 --steps 500 --dry-run",
    "deno task train --model checkpoints/llama --data facts.jsonl --out runs/facts --watch",
    "deno task train --config flags.json --resume --out runs/facts",
  ],
  flags: TRAIN_FLAGS,
  run,
};
