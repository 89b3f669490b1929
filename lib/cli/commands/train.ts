// SPDX-License-Identifier: Apache-2.0
/** `deno task train`: fine-tunes a model; with no flags, the demo. */
import { usedPlacement } from "../../train/placement.ts";
import { join } from "node:path";
import { otherBaseNotice } from "../../adapters/files/adapter_files.ts";
import type { SavedAdapter } from "../../adapters/files/saved_adapter.ts";
import { throwIfAny, UserError } from "../../core/errors.ts";
import type { Dataset } from "../../data/dataset.ts";
import type { Evaluation } from "../../evaluate/task_scores.ts";
import { realPathSync } from "../../files/read.ts";
import { formatCount, formatLoss, formatSeconds } from "../../report/format.ts";
import { formatMemory } from "../../report/memory.ts";
import { scoreRows } from "../../report/scores.ts";
import { formatTable } from "../../report/table.ts";
import { openAdapter } from "../../train/adapters.ts";
import type { OpenModel } from "../../train/open_model.ts";
import { type BatchSizes, plannedBatches } from "../../predict/batch_sizes.ts";
import { besideDevice } from "../../predict/beside_device.ts";
import { type DevicePrediction, predictDevice } from "../../predict/device_memory.ts";
import { judgeFit } from "../../predict/fit.ts";
import { type MemoryPrediction, predictMemory, processPeakBytes } from "../../predict/memory.ts";
import { decodedPictureBytes } from "../../predict/pictures.ts";
import { availableHostBytes, peakHostBytes, residentBytes } from "../../native/host_memory.ts";
import { checkResume } from "../../train/checkpoint.ts";
import { plan, type Run } from "../../train/plan.ts";
import { planMeasured } from "../../predict/placement.ts";
import { checkRunFolder } from "../../train/run_folder.ts";
import { methodName } from "../../train/settings.ts";
import { withBase } from "../adapter_session.ts";
import { dataPaths } from "../flags/data.ts";
import { createDataLoader, type DataLoader } from "../data_loader.ts";
import { measureDemo, reportDemo, withDemoValues } from "../demo.ts";
import { settingsOf } from "../flags/settings.ts";
import { taskOfFlags } from "../flags/task.ts";
import type { FlagValues } from "../flags/flags.ts";
import { beside, describeFit } from "../host_memory.ts";
import { reportDryRun } from "../dry_run.ts";
import { describeRun, describeTrained } from "../run_table.ts";
import { createStartup, formatStartup } from "../startup.ts";
import { openLiveReport } from "../live_report.ts";
import { formatProblems } from "../flags/format.ts";
import type { Output } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";
import { DEMO, openModelOf, trainedVocabulary } from "../session.ts";
import { recordedFlags, withRecordedFlags } from "../flags/resumed.ts";
import { TRAIN_FLAGS } from "../flags/train.ts";
import { readRunOptions, refuseForeignFlags, refuseSettledFlags } from "../flags/train_options.ts";
import { scoreTrained } from "../trained_scores.ts";
import { type TrainingAccount, trainWithProgress } from "../training.ts";

/** What only shows when flags are seen together. */
function checkTogether(values: FlagValues, start: SavedAdapter | null): void {
  const problems: string[] = [];
  refuseForeignFlags(values, methodName(settingsOf(values), start), problems);
  refuseSettledFlags(values, problems);
  if (values.model !== undefined && values.data === undefined && values["dry-run"] !== true) {
    problems.push("--model needs --data");
  }
  if (values.data !== undefined && values.model === undefined) problems.push("--data needs --model");
  if (values.resume === true && values.out === undefined) {
    problems.push("--resume needs --out, the run to continue");
  }
  if (values["eval-every"] !== undefined && values["eval-data"] === undefined) {
    problems.push("--eval-every needs --eval-data");
  }
  if (values["watch-port"] !== undefined && values.watch !== true) {
    problems.push("--watch-port needs --watch");
  }
  throwIfAny("The command line of train", problems);
}

/** What was measured beside the training, and predicted before it. */
interface Measured {
  readonly memory: MemoryPrediction;
  readonly peakHostBytes: number;
  readonly predictedPeakBytes: number;
  /** Of the device, and what was predicted; null without one. */
  readonly device: DeviceMeasured | null;
  /** Milliseconds by part. */
  readonly startup: Readonly<Record<string, number>>;
}

/** Measured beside predicted, in bytes. */
interface DeviceMeasured {
  readonly peakBytes: number;
  readonly predictedBytes: number;
  /** Over PCIe in a step, both ways together. */
  readonly pcieBytes: number;
  readonly predictedPcieBytes: number;
}

/** The most that the device held, by its ledger, and what travelled; the prediction leaves the driver's context out. */
function measureDevice(
  run: Run,
  ofDevice: DevicePrediction | null,
  { steps, travelledBytes }: TrainingAccount,
): DeviceMeasured | null {
  const { device } = run.model.kernels;
  if (device === null || ofDevice === null) return null;
  return {
    peakBytes: device.bytes().peak,
    predictedBytes: ofDevice.deviceTotal - ofDevice.device.context,
    pcieBytes: travelledBytes / Math.max(1, steps),
    predictedPcieBytes: ofDevice.pcie.up + ofDevice.pcie.down,
  };
}

/** `runs/20261121-153012-sparse`. */
function defaultOut(name: string): string {
  return join(
    "runs",
    `${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}-${name}`,
  );
}

/** Where a run goes on. */
function describeResume(checkpoint: string | null): string {
  return checkpoint === null ? "nothing was saved yet: the run begins again" : `going on from ${checkpoint}`;
}

/** `40`, `12 of 40, interrupted`, or that there was nothing to do. */
function describeSteps({ steps, totalSteps, interrupted, lossFirst }: TrainingAccount): string {
  if (interrupted) return `${steps} of ${totalSteps}, interrupted`;
  const done = ", all taken before: more --steps or --epochs would go on";
  return `${steps}${lossFirst === null ? done : ""}`;
}

function describeAccount(
  run: Run,
  account: TrainingAccount,
  measured: Measured,
  evaluation: Evaluation | null,
): string {
  const loss = (value: number | null) => value === null ? "not measured" : formatLoss(value);
  const table = formatTable([
    ["result", ""],
    ["steps", describeSteps(account)],
    ...(account.lossFirst === null
      ? []
      : [["loss", `${loss(account.lossFirst)} to ${loss(account.lossLast)}`]]),
    ...(account.evalLoss === null ? [] : [["evaluation loss", loss(account.evalLoss)]]),
    ["trained", describeTrained(measured.memory)],
    ["time", `${formatSeconds(account.seconds)}, ${formatCount(account.tokensPerSecond)} tokens/s`],
    ["start-up", formatStartup(measured.startup)],
    ["peak memory", beside(measured.peakHostBytes, measured.predictedPeakBytes)],
    ...(measured.device === null ? [] : [
      ["peak GPU memory", beside(measured.device.peakBytes, measured.device.predictedBytes)],
      ["over PCIe, a step", beside(measured.device.pcieBytes, measured.device.predictedPcieBytes)],
    ]),
    ["adapter", account.adapter ?? `none yet: continue with --resume --out ${run.settings.out}`],
    ["report", join(run.settings.out ?? "", "report.html")],
  ]);
  return hasScores(evaluation) ? `${table}\n\n${formatTable(scoreRows(evaluation))}` : table;
}

function hasScores(evaluation: Evaluation | null): evaluation is Evaluation {
  return evaluation !== null && Object.keys(evaluation.scores).length > 0;
}

/** The loss on the evaluation data, and the scores where the task has any; null where nothing was measured. */
function evaluationResult({ evalLoss: loss }: TrainingAccount, evaluation: Evaluation | null): unknown {
  if (hasScores(evaluation)) return { loss, scores: evaluation.scores };
  return loss === null ? null : { loss };
}

function resultOf(
  run: Run,
  account: TrainingAccount,
  measured: Measured,
  evaluated: unknown,
): Record<string, unknown> {
  return {
    steps: account.steps,
    interrupted: account.interrupted,
    tokens: account.tokens,
    lossFirst: account.lossFirst,
    lossLast: account.lossLast,
    eval: evaluated,
    seconds: account.seconds,
    tokensPerSecond: account.tokensPerSecond,
    adapterParameters: measured.memory.adapterParameters,
    trainableFraction: measured.memory.trainedParameters / measured.memory.modelParameters,
    peakHostBytes: measured.peakHostBytes,
    predictedPeakBytes: measured.predictedPeakBytes,
    predictedBytes: measured.memory.bytes,
    predictedStartBytes: measured.memory.startBytes,
    ledgerPeakBytes: Object.fromEntries(run.model.kernels.ledger.peak),
    startupMs: measured.startup,
    peakDeviceBytes: measured.device?.peakBytes ?? 0,
    predictedDeviceBytes: measured.device?.predictedBytes ?? 0,
    pcieBytes: measured.device?.pcieBytes ?? 0,
    predictedPcieBytes: measured.device?.predictedPcieBytes ?? 0,
    adapter: account.adapter,
    out: run.settings.out,
  };
}

/** What the run will take of its device; null on the CPU. */
async function predictOnDevice(run: Run, batches: BatchSizes): Promise<DevicePrediction | null> {
  if (run.model.kernels.device === null) return null;
  const placement = usedPlacement(run.adapterKind, run.rows);
  return await predictDevice(run, placement, batches);
}

async function loadEvalData(values: FlagValues, model: OpenModel, load: DataLoader): Promise<Dataset | null> {
  if (values["eval-data"] === undefined) return null;
  return await load(values["eval-data"] as readonly string[], model);
}

/** The flags with the adapter's model where they name none; the demo's adapters go on with the demo when there is no data. */
function withStart(values: FlagValues, start: SavedAdapter | null): FlagValues {
  if (start === null || values.model !== undefined) return values;
  const complete = withBase(values, start);
  const isDemo = realPathSync(complete.model as string) === realPathSync(DEMO.model);
  return isDemo && values.data === undefined ? values : complete;
}

async function run(called: FlagValues, output: Output): Promise<number> {
  // What refuses a folder comes before all that takes time.
  if (called.out !== undefined && called["dry-run"] !== true) {
    await checkRunFolder(called.out as string, called.resume === true);
  }
  const typed = await withRecordedFlags(called);
  const start = typed.adapter === undefined ? null : await openAdapter(typed.adapter as string);
  const given = withStart(typed, start);
  checkTogether(given, start);
  const isDemo = given.model === undefined;
  const values = isDemo ? withDemoValues(given, methodName(settingsOf(given), start)) : given;
  if (values["dry-run"] === true) {
    await reportDryRun(isDemo ? { ...values, data: dataPaths(values) } : values, start, output);
    return EXIT.done;
  }
  const startup = createStartup();
  const chosen = await taskOfFlags(values, start);
  using model = await openModelOf(values, { head: chosen.head, ...trainedVocabulary(values, start) });
  const out = (values.out ?? defaultOut(isDemo ? "demo" : methodName(settingsOf(values), start))) as string;
  const goesOnFrom = values.resume === true
    ? await checkResume(plan(model, readRunOptions(values, start, out)), join(out, "checkpoints"))
    : null;
  startup.mark("model");
  const load = createDataLoader(values, output, chosen.task);
  const data = await load(dataPaths(values), model);
  const evalData = await loadEvalData(values, model, load);
  startup.mark("data");
  const { run: planned, placements } = await planMeasured(model, readRunOptions(values, start, out));
  const notice = start && otherBaseNotice(start, planned.base);
  if (notice) output.line(`${notice}\n`);
  const batches = plannedBatches(planned, data, evalData);
  const predicted = await predictMemory(planned, batches);
  const ofDevice = await predictOnDevice(planned, batches);
  const hostPart = (memory: MemoryPrediction): MemoryPrediction =>
    ofDevice ? besideDevice(memory, ofDevice) : memory;
  const memory = hostPart(predicted);
  output.line(
    `${describeRun(planned, chosen.task, { memory: predicted, placements }, data)}\n\n${
      formatMemory(memory.bytes, memory.startBytes)
    }\n`,
  );
  if (values.resume === true) output.line(`${describeResume(goesOnFrom)}\n`);
  const fit = await judgeFit(planned, memory, availableHostBytes(), hostPart);
  if (!fit.fits) throw new UserError(describeFit(fit));
  const baselineBytes = residentBytes();
  startup.mark("plan");
  const examples = { model, run: planned, data: evalData ?? data, task: chosen.task, values, output };
  await using report = await openLiveReport(out, examples);
  const before = isDemo ? await measureDemo(model, null, output) : null;
  const { peak } = planned.model.kernels.ledger;
  const decodingBytes = (peak.get("cache") ?? 0) + (peak.get("logits") ?? 0); // of the demo's questions
  const predictedPeakBytes = processPeakBytes(memory, baselineBytes) + decodingBytes +
    decodedPictureBytes([data, evalData]);
  const flags = recordedFlags(values, model);
  const options = { resume: values.resume === true, evalData, flags, afterStep: report.afterStep };
  const account = await trainWithProgress(planned, data, options, output);
  const measured = {
    memory: predicted,
    predictedPeakBytes,
    peakHostBytes: peakHostBytes(),
    device: measureDevice(planned, ofDevice, account),
    startup: { ...startup.parts, ...account.startup },
  };
  const after = before && !account.interrupted ? await measureDemo(model, account.params, output) : null;
  const evaluation = await scoreTrained(
    { model, run: planned, evalData, task: chosen.task, values },
    account,
  );
  await report.finish(account.interrupted ? null : account.params);
  const demo = before && after ? reportDemo(before, after, output) : null;
  output.line(`\n${describeAccount(planned, account, measured, evaluation)}`);
  output.result(resultOf(planned, account, measured, demo ?? evaluationResult(account, evaluation)));
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
    "deno task train --model llama-7b/config.json --neurons 16384 --dry-run   # no weights, no data",
    "deno task train --resume --out runs/facts                       # with all flags that it was started with",
    "deno task train --resume --out runs/facts --epochs 8 --micro-batch-size 2",
  ],
  flags: TRAIN_FLAGS,
  check: formatProblems,
  run,
};
