// SPDX-License-Identifier: Apache-2.0
/** Everything that can be said of a run before it starts: memory, work, time, and whether it fits. Allocates next to nothing. */
import type { Placement } from "../adapters/adapter.ts";
import { type ActivationPolicyName, possibleActivations } from "../activations/registry.ts";
import { undoRefusal } from "../adapters/adapter.ts";
import type { Dataset } from "../data/dataset.ts";
import { weightlessModel } from "../models/described.ts";
import { createKvCache } from "../models/engine/kv_cache.ts";
import { countingKernels } from "../ops/counting/counting_kernels.ts";
import type { Run } from "../train/plan.ts";
import { type BatchSizes, fullBatches, fullLoad, plannedBatches, type StepLoad } from "./batch_sizes.ts";
import { besideDevice } from "./beside_device.ts";
import { type DevicePrediction, predictDevice } from "./device_memory.ts";
import { type Fit, judgeFit } from "./fit.ts";
import { calibrate } from "./machine/measure.ts";
import type { MachineRates } from "./machine/rates.ts";
import { decodedPictureBytes } from "./pictures.ts";
import { type MemoryPrediction, predictMemory, processPeakBytes } from "./memory.ts";
import { estimateStep, type TimeEstimate } from "./time.ts";
import { type StepWork, stepWork } from "./work.ts";

/** What a dry run finds. */
export interface DryRun {
  readonly memory: MemoryPrediction;
  /** Activations of each policy, with all else as chosen. */
  readonly activationsByPolicy: Readonly<Partial<Record<ActivationPolicyName, number>>>;
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

/** Predicts a run. The model may be one that is only described. */
export async function dryRun(run: Run, options: DryRunOptions): Promise<DryRun> {
  const { adapterKind, settings, model: { config: { head } } } = run;
  const data = options.data ?? null;
  const batches = data === null
    ? fullBatches(settings, head)
    : plannedBatches(run, data, options.evalData ?? null);
  const byPolicy = new Map<ActivationPolicyName, MemoryPrediction>();
  for (const activations of possibleActivations(undoRefusal(adapterKind) === null)) {
    byPolicy.set(
      activations,
      await predictMemory({ ...run, settings: { ...settings, activations } }, batches),
    );
  }
  const memory = byPolicy.get(settings.activations) as MemoryPrediction;
  const load = data === null ? fullLoad(settings.batch.size, settings.batch.seqLen, head) : batches.meanStep;
  const work = await stepWork(run, load);
  const rates = await calibrate(run, { threads: options.threads });
  const device: DevicePrediction[] = [];
  for (const placement of adapterKind.placements) device.push(await predictDevice(run, placement, batches));
  const chosen = device.find(({ placement }) => placement === options.onDevice) ?? device[0];
  const hostPart = (other: MemoryPrediction): MemoryPrediction =>
    options.onDevice && chosen ? besideDevice(other, chosen) : other;
  return {
    memory,
    activationsByPolicy: Object.fromEntries(
      [...byPolicy].map(([name, { bytes }]) => [name, bytes.activations ?? 0]),
    ),
    kvCacheBytesPerSequence: kvCacheBytes(run),
    processPeakBytes: processPeakBytes(hostPart(memory), options.baselineBytes) +
      decodedPictureBytes([options.data, options.evalData]),
    batches,
    load,
    work,
    rates,
    time: estimateStep(work, load.tokens + (load.sourceTokens ?? 0), rates),
    fit: await judgeFit(run, hostPart(memory), options.availableBytes, hostPart),
    device,
  };
}

/** Keys and values of one sequence of full length; none where nothing is decoded. */
function kvCacheBytes({ model, settings }: Run): number {
  if (model.config.head.kind !== "lm") return 0;
  const kernels = countingKernels(model.kernels);
  createKvCache(weightlessModel(model, kernels), settings.batch.seqLen);
  return kernels.ledger.held.get("cache") ?? 0;
}
