// SPDX-License-Identifier: Apache-2.0
/** `deno task train --dry-run`: what a run will need and take, as tables. */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { loadTokenizer } from "../data/tokenizer.ts";
import { loadData } from "../data/load_data.ts";
import type { Dataset } from "../data/dataset.ts";
import { describeModel } from "../models/described.ts";
import { availableHostBytes, residentBytes } from "../native/host_memory.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import { formatBytes, formatCount, formatMilliseconds } from "../report/format.ts";
import { formatTable } from "../report/table.ts";
import type { SavedAdapter } from "../adapters/adapter_files.ts";
import type { DevicePrediction } from "../train/device_memory.ts";
import { type DryRun, dryRun } from "../train/dry_run.ts";
import { type OpenModel, openModel } from "../train/open_model.ts";
import { plan, type Run } from "../train/plan.ts";
import { totalOperations } from "../train/work.ts";
import { dataOptions } from "./data_flags.ts";
import type { FlagValues } from "./flags.ts";
import { describeFit } from "./host_memory.ts";
import type { Output } from "./output.ts";
import { describeRun } from "./run_table.ts";
import { modelFolder } from "./session.ts";
import { readRunOptions } from "./train_options.ts";

/** The model as far as it is there: with its weights, or its configuration alone. */
type DryModel = Pick<OpenModel, "config" | "kernels"> & OpenModel;

async function openDry(values: FlagValues): Promise<DryModel> {
  const path = modelFolder(values);
  const dir = basename(path) === "config.json" ? dirname(path) : path;
  const dtype = (values.dtype ?? "auto") as "auto" | "f32" | "bf16";
  const threads = typeof values.threads === "number" ? { threads: values.threads } : {};
  const hasWeights = existsSync(dir) &&
    [...Deno.readDirSync(dir)].some(({ name }) => /\.safetensors(\.index\.json)?$|\.bin$|\.gguf$/.test(name));
  // Of a GPU only sizes are asked here, so the model is opened on the CPU whatever the device.
  if (hasWeights || !existsSync(join(dir, "config.json"))) return await openModel(dir, { dtype, ...threads });
  using opening = new DisposableStack();
  const kernels = opening.use(nativeKernels({ compute: dtype, ...threads }));
  const model = describeModel(dir, kernels);
  const tokenizer = await loadTokenizer(dir).catch((error: Error) => error);
  const owned = opening.move();
  return {
    ...model,
    get tokenizer() {
      if (tokenizer instanceof Error) throw tokenizer;
      return tokenizer;
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}

async function dataOf(
  values: FlagValues,
  flag: "data" | "eval-data",
  model: DryModel,
): Promise<Dataset | null> {
  const paths = values[flag];
  return paths === undefined
    ? null
    : await loadData(paths as readonly string[], model.tokenizer, dataOptions(values));
}

/** Foretells the run that the flags name, prints it, and writes nothing. */
export async function reportDryRun(
  values: FlagValues,
  start: SavedAdapter | null,
  output: Output,
): Promise<void> {
  using model = await openDry(values);
  const data = await dataOf(values, "data", model);
  const evalData = await dataOf(values, "eval-data", model);
  const run = plan(model, readRunOptions(values, start, (values.out ?? null) as string | null));
  const threads = values.threads as number | undefined;
  const found = await dryRun(run, {
    data,
    evalData,
    availableBytes: availableHostBytes(),
    baselineBytes: residentBytes(),
    threads,
  });
  const onDevice = values.device === "cuda";
  const sections = [
    describeRun(run, data),
    formatMemoryTable(run, found),
    formatWork(run, found),
    ...(onDevice ? [formatDevices(found.device)] : []),
    describeFit(found.fit),
  ];
  output.line(sections.join("\n\n"));
  output.result({
    dryRun: true,
    ...found,
    device: onDevice ? found.device : null,
    data: data?.report ?? null,
    settings: run.settings,
    weights: model.weightless !== true,
  });
}

function formatMemoryTable({ settings }: Run, found: DryRun): string {
  const { memory: { bytes, logitsBytes, residentBytes: resident, totalBytes }, batches } = found;
  const other = settings.activations === "store" ? "recompute" : "store";
  const largest = batches.later ?? batches.first;
  const touched = (name: keyof typeof resident): string => {
    const [all, some] = [bytes[name] ?? 0, resident[name] ?? 0];
    return some < 0.99 * all ? `; about ${formatBytes(Math.round(some))} of it will be touched` : "";
  };
  return formatTable([
    ["host memory", "bytes", ""],
    ["weights", formatBytes(bytes.weights ?? 0), "mapped from the checkpoint, as stored"],
    [
      "activations",
      formatBytes((bytes.activations ?? 0) - logitsBytes),
      `${settings.activations}, micro-batches of up to ${largest.tokens} tokens; ${other}: ${
        formatBytes(found.activationsByPolicy[other] - logitsBytes)
      }`,
    ],
    ["logits", formatBytes(logitsBytes), "one chunk of the loss"],
    ["parameters", formatBytes(bytes.parameters ?? 0), `adapter rows and routers${touched("parameters")}`],
    ["optimizer", formatBytes(bytes.optimizer ?? 0), `two moments${touched("optimizer")}`],
    ["gradients", formatBytes(bytes.gradients ?? 0), `lodge activations while idle${touched("gradients")}`],
    ["workspace", formatBytes(bytes.workspace ?? 0), "scratch of the kernels"],
    ["pinned", formatBytes(0), "none without a GPU"],
    ["together", formatBytes(totalBytes), ""],
    [
      "peak of the process",
      formatBytes(Math.round(found.processPeakBytes)),
      "resident at most, runtime included",
    ],
    [
      "KV cache",
      formatBytes(found.kvCacheBytesPerSequence),
      `for each sequence of ${settings.batch.seqLen} tokens that an evaluation or generation decodes; not in training`,
    ],
  ]);
}

function formatWork({ totalSteps }: Run, { load, work, time, rates }: DryRun): string {
  const parts = [
    `products ${formatMilliseconds(time.products)}`,
    `attention ${formatMilliseconds(time.attention)}`,
    `adapter ${formatMilliseconds(time.adapter)}`,
    `norms and sums ${formatMilliseconds(time.streams)}`,
    `update ${formatMilliseconds(time.update)}`,
  ];
  return formatTable([
    ["work", ""],
    ["tokens of a step", `${formatCount(load.tokens)}, ${formatCount(load.targets)} targets`],
    ["operations of a step", `${(totalOperations(work) / 1e9).toPrecision(3)} GFLOP`],
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
function formatDevices(devices: readonly DevicePrediction[]): string {
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  const row = (name: string, value: (device: DevicePrediction) => number): string[] => [
    name,
    ...devices.map((device) => gigabytes(value(device))),
  ];
  const classes = Object.keys(devices[0]?.device ?? {}) as (keyof DevicePrediction["device"])[];
  return formatTable([
    ["GPU memory", ...devices.map(({ placement }) => `placement ${placement}`)],
    ...classes.map((name) => row(name, ({ device }) => device[name])),
    row("together", ({ deviceTotal }) => deviceTotal),
    row("pinned host memory", ({ pinned }) => pinned),
    row("other host memory", ({ host }) => host.parameters + host.optimizer + host.gradients),
    row("up by PCIe, a step", ({ pcie }) => pcie.up),
    row("down by PCIe, a step", ({ pcie }) => pcie.down),
  ]);
}
