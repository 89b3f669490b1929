// SPDX-License-Identifier: Apache-2.0
/** `deno task train --dry-run`: what a run will need and take, as tables. */
import { usedPlacement } from "../train/placement.ts";
import { basename, dirname, join } from "node:path";
import type { Dataset } from "../data/dataset.ts";
import { isFolderSync, isThereSync, listFolderSync } from "../files/read.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import { describeModel } from "../models/described.ts";
import { availableHostBytes, residentBytes } from "../native/host_memory.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import { formatBytes, formatCount, formatMilliseconds } from "../report/format.ts";
import { formatGrowth } from "../report/memory.ts";
import { formatTable } from "../report/table.ts";
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import type { PassSize } from "../predict/batch_sizes.ts";
import type { DevicePrediction } from "../predict/device_memory.ts";
import { type DryRun, dryRun } from "../predict/dry_run.ts";
import { loadModel, type OpenModel, withTokenizer } from "../train/open_model.ts";
import { openVocabulary, vocabularyOf } from "../train/open_vocabulary.ts";
import { decideSteps } from "../train/batches.ts";
import { plan, type Run } from "../train/plan.ts";
import { totalOperations } from "../predict/work.ts";
import { createDataLoader, type DataLoader } from "./data_loader.ts";
import type { FlagValues } from "./flags/flags.ts";
import { taskOfFlags } from "./flags/task.ts";
import { describeFit } from "./host_memory.ts";
import type { Output } from "./output.ts";
import { describeRun } from "./run_table.ts";
import { modelFolder, trainedVocabulary, warnOfCheckpoint } from "./session.ts";
import { readRunOptions } from "./flags/train_options.ts";

/** The model as far as it is there: with its weights, or its configuration alone. */
type DryModel = Pick<OpenModel, "config" | "kernels"> & OpenModel;

async function openDry(values: FlagValues, head: HeadConfig, start: SavedAdapter | null): Promise<DryModel> {
  const path = modelFolder(values);
  const dir = basename(path) === "config.json" ? dirname(path) : path;
  const given = (values.dtype ?? "auto") as "auto" | "f32" | "bf16";
  const dtype = given === "auto" && values.device === "cuda" ? "bf16" : given; // what a GPU multiplies
  const threads = typeof values.threads === "number" ? { threads: values.threads } : {};
  const hasWeights = isFolderSync(dir) &&
    listFolderSync(dir).some(({ name }) => /\.safetensors(\.index\.json)?$|\.bin$|\.gguf$/.test(name));
  // Of a GPU only sizes are asked here, so the model is opened on the CPU whatever the device.
  if (hasWeights || !isThereSync(join(dir, "config.json"))) {
    return await loadModel(dir, { dtype, ...threads, head, ...trainedVocabulary(values, start) });
  }
  using opening = new DisposableStack();
  const kernels = opening.use(nativeKernels({ compute: dtype, ...threads }));
  const opened = await openVocabulary(dir, trainedVocabulary(values, start));
  const described = describeModel(dir, kernels, { head, vocabulary: opened.choice });
  const owned = opening.move();
  const vocabulary = vocabularyOf(described, opened);
  return withTokenizer({
    ...described,
    ...(vocabulary && { vocabulary }),
    [Symbol.dispose]: () => owned.dispose(),
  }, opened);
}

async function dataOf(
  values: FlagValues,
  flag: "data" | "eval-data",
  model: DryModel,
  load: DataLoader,
): Promise<Dataset | null> {
  const paths = values[flag];
  return paths === undefined ? null : await load(paths as readonly string[], model);
}

/** Predicts the run that the flags name, prints it, and writes nothing. */
export async function reportDryRun(
  values: FlagValues,
  start: SavedAdapter | null,
  output: Output,
): Promise<void> {
  const chosen = await taskOfFlags(values, start);
  using model = await openDry(values, chosen.head, start);
  warnOfCheckpoint(model);
  const load = createDataLoader(values, output, chosen.task);
  const data = await dataOf(values, "data", model, load);
  const evalData = await dataOf(values, "eval-data", model, load);
  const run = plan(model, readRunOptions(values, start, (values.out ?? null) as string | null));
  const threads = values.threads as number | undefined;
  const onDevice = values.device === "cuda" ? deviceColumn(run) : null;
  const found = await dryRun(run, {
    onDevice,
    data,
    evalData,
    availableBytes: availableHostBytes(),
    baselineBytes: residentBytes(),
    threads,
  });
  const sections = [
    describeRun(run, chosen.task, { memory: found.memory }, data),
    ...(onDevice ? [formatDevices(found.device, found.processPeakBytes)] : [formatMemoryTable(run, found)]),
    formatWork(data === null ? run.totalSteps : decideSteps(run, data), found, onDevice !== null),
    describeFit(found.fit),
  ];
  output.line(sections.join("\n\n"));
  output.result({
    dryRun: true,
    ...found,
    device: onDevice ? found.device : null,
    // Of the CPU: a GPU's cannot be told without one.
    time: onDevice ? null : found.time,
    data: data?.report ?? null,
    settings: run.settings,
    weights: model.weightless !== true,
  });
}

function formatMemoryTable({ settings }: Run, found: DryRun): string {
  const { memory: { bytes, logitsBytes, startBytes, totalBytes }, batches } = found;
  const others = Object.entries(found.activationsByPolicy).filter(([name]) => name !== settings.activations)
    .map(([name, bytes]) => `${name}: ${formatBytes(bytes - logitsBytes)}`);
  const largest = batches.later ?? batches.first;
  const grown = (name: "parameters" | "optimizer" | "gradients"): string =>
    formatGrowth(startBytes[name] ?? 0, bytes[name] ?? 0);
  return formatTable([
    ["host memory", "bytes", ""],
    ["weights", formatBytes(bytes.weights ?? 0), "mapped from the checkpoint, as stored"],
    [
      "activations",
      formatBytes((bytes.activations ?? 0) - logitsBytes),
      `${settings.activations}, micro-batches of up to ${tokensText(largest, String)} tokens; ${
        others.join(", ")
      }`,
    ],
    ["logits", formatBytes(logitsBytes), "one chunk of the loss"],
    ["parameters", grown("parameters"), "adapter rows and routers"],
    ["optimizer", grown("optimizer"), "two moments"],
    ["gradients", grown("gradients"), "hold activations while idle"],
    ["workspace", formatBytes(bytes.workspace ?? 0), "scratch of the kernels"],
    ["pinned", formatBytes(0), "none without a GPU"],
    ["together", formatBytes(totalBytes), "at most"],
    [
      "peak of the process",
      formatBytes(Math.round(found.processPeakBytes)),
      "resident at most, runtime included",
    ],
    ...(found.kvCacheBytesPerSequence === 0 ? [] : [[
      "KV cache",
      formatBytes(found.kvCacheBytesPerSequence),
      `for each sequence of ${settings.batch.seqLen} tokens that an evaluation or generation decodes; not in training`,
    ]]),
  ]);
}

/** `96`, or `210 read and 96 written`. */
function tokensText({ tokens, sourceTokens }: PassSize, count: (tokens: number) => string): string {
  return sourceTokens === undefined
    ? count(tokens)
    : `${count(sourceTokens)} read and ${count(tokens)} written`;
}

/** The placement that the run would take: the chosen one; without a GPU to measure, `auto` is the host. */
function deviceColumn({ adapterKind, rows }: Run): DevicePrediction["placement"] {
  return usedPlacement(adapterKind, rows);
}

/** @param onDevice Without times, which are the CPU's */
function formatWork(
  totalSteps: number | null,
  { load, work, time, rates }: DryRun,
  onDevice: boolean,
): string {
  const sizes = [
    ["work", ""],
    ["tokens of a step", `${tokensText(load, formatCount)}, ${formatCount(load.targets)} targets`],
    ["operations of a step", `${(totalOperations(work) / 1e9).toPrecision(3)} GFLOP`],
  ];
  if (onDevice) return formatTable(sizes);
  const parts = [
    `products ${formatMilliseconds(time.products)}`,
    `attention ${formatMilliseconds(time.attention)}`,
    `adapter ${formatMilliseconds(time.adapter)}`,
    `norms and sums ${formatMilliseconds(time.streams)}`,
    `update ${formatMilliseconds(time.update)}`,
  ];
  return formatTable([
    ...sizes,
    ["time of a step", `about ${formatMilliseconds(time.stepMs)} (${parts.join(", ")})`],
    ["tokens a second", formatCount(time.tokensPerSecond)],
    ...(totalSteps === null
      ? []
      : [["all steps", `${totalSteps}: about ${formatMilliseconds(totalSteps * time.stepMs)}`]]),
    [
      "measured here",
      `${(rates.linearForward / 1e9).toFixed(0)} GFLOP/s of products, ${
        (rates.bandwidth / 1e9).toFixed(1)
      } GB/s, in ${formatMilliseconds(rates.calibrationMs)}`,
    ],
  ]);
}

/** A column a placement. */
function formatDevices(devices: readonly DevicePrediction[], processPeakBytes: number): string {
  const row = (name: string, value: (device: DevicePrediction) => number): string[] => [
    name,
    ...devices.map((device) => formatBytes(Math.round(value(device)))),
  ];
  const head = (name: string): string[] => [
    name,
    ...devices.map(({ placement }) => `placement ${placement}`),
  ];
  const classes = Object.keys(devices[0]?.device ?? {}) as (keyof DevicePrediction["device"])[];
  const gpu = formatTable([
    head("GPU memory"),
    ...classes.map((name) =>
      row(name === "context" ? "context, libraries (an estimate)" : name, ({ device }) => device[name])
    ),
    row("together", ({ deviceTotal }) => deviceTotal),
  ]);
  const host = formatTable([
    head("host memory"),
    row("parameters", ({ host }) => host.parameters),
    row("optimizer", ({ host }) => host.optimizer),
    row("gradients, were all rows touched", ({ host }) => host.gradients),
    row("pinned", ({ pinned }) => pinned),
    [
      "peak of the process",
      `about ${formatBytes(Math.round(processPeakBytes))}`,
      ...devices.slice(1).map(() => ""),
    ],
  ]);
  const bus = formatTable([
    head("over PCIe, a step"),
    row("up", ({ pcie }) => pcie.up),
    row("down", ({ pcie }) => pcie.down),
  ]);
  return [gpu, host, bus].join("\n\n");
}
