// SPDX-License-Identifier: Apache-2.0
/** Everything that can be said of a run before it starts: memory, work, time, and whether it fits. Allocates next to nothing. */
import type { Dataset } from "../data/dataset.ts";
import {
  activationBytesOf,
  type BatchSizes,
  fullBatches,
  type MemoryPrediction,
  predictMemory,
  processPeakBytes,
} from "./memory.ts";
import { besideDevice } from "./beside_device.ts";
import { plannedBatches } from "./batch_sizes.ts";
import { calibrate, estimateStep, type MachineRates, type TimeEstimate } from "./calibration.ts";
import { type DevicePrediction, type Placement, predictDevice } from "./device_memory.ts";
import { type Fit, judgeFit } from "./fit.ts";
import type { Run } from "./plan.ts";
import { fullLoad, type StepLoad } from "./step_load.ts";
import { type StepWork, stepWork } from "./work.ts";

/** What a dry run finds. */
export interface DryRun {
  readonly memory: MemoryPrediction;
  /** Activations of each policy, with all else as chosen. */
  readonly activationsByPolicy: Readonly<Record<"store" | "recompute", number>>;
  /** Keys and values of one row of the longest length, decoding; for each sequence that is decoded at once. */
  readonly kvCacheBytesPerSequence: number;
  /** Peak of the process: see `processPeakBytes`. */
  readonly processPeakBytes: number;
  /** Micro-batches by their real sizes, or full rows without data. */
  readonly batches: BatchSizes;
  readonly load: StepLoad;
  readonly work: StepWork;
  readonly rates: MachineRates;
  readonly time: TimeEstimate;
  readonly fit: Fit;
  /** On a GPU, by placement of the adapter. */
  readonly device: readonly DevicePrediction[];
}

/** What a dry run goes by. */
export interface DryRunOptions {
  /** Null or absent: full rows are assumed. */
  readonly data?: Dataset | null;
  readonly evalData?: Dataset | null;
  /** Bytes of host memory that can still be had. */
  readonly availableBytes: number;
  /** Resident now: runtime and data. */
  readonly baselineBytes: number;
  readonly threads?: number | undefined;
  /** Placement on a GPU, beside which the host is judged; null or absent when the run computes on the CPU. */
  readonly onDevice?: Placement | null;
}

/** Foretells a run. The model may be one that is only described. @mutates run.totalSteps, when there is data */
export async function dryRun(run: Run, options: DryRunOptions): Promise<DryRun> {
  const { model, adapterKind, optimizer, settings } = run;
  const { config } = model;
  const data = options.data ?? null;
  const batches = data === null ? fullBatches(settings) : plannedBatches(run, data, options.evalData ?? null);
  const predict = (activations: "store" | "recompute"): MemoryPrediction =>
    predictMemory(model, adapterKind, optimizer, { ...settings, activations }, batches);
  const memory = predict(settings.activations);
  const load = data === null ? fullLoad(settings.batch.size, settings.batch.seqLen) : batches.meanStep;
  const rates = await calibrate(run, { threads: options.threads });
  const placements: Placement[] = adapterKind.kind === "sparse" ? ["host", "device"] : ["device"];
  const device = placements.map((placement) => predictDevice(run, placement, batches));
  const chosen = device.find(({ placement }) => placement === options.onDevice) ?? device[0];
  const onHost = options.onDevice && chosen ? besideDevice(memory, chosen) : memory;
  return {
    memory,
    activationsByPolicy: {
      store: predict("store").bytes.activations ?? 0,
      recompute: predict("recompute").bytes.activations ?? 0,
    },
    kvCacheBytesPerSequence: 2 * activationBytesOf(model.kernels) * config.numHiddenLayers *
      settings.batch.seqLen * config.numKeyValueHeads * config.headDim,
    processPeakBytes: processPeakBytes(onHost, options.baselineBytes),
    batches,
    load,
    work: stepWork(run, load),
    rates,
    time: estimateStep(run, load, rates),
    fit: judgeFit(
      run,
      onHost,
      options.availableBytes,
      (other) => options.onDevice && chosen ? besideDevice(other, chosen) : other,
    ),
    device,
  };
}
