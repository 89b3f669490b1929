// SPDX-License-Identifier: Apache-2.0
/** What a run will need of host memory, by class, before anything is allocated: its own passes, counted. */
import { BYTES_PER_ELEMENT } from "../core/dtype.ts";
import type { ModelConfig } from "../models/model.ts";
import { ropeTableBytes, ropeTableRows } from "../models/rope.ts";
import type { MemoryClass } from "../native/ledger.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { lossChunkRows } from "../ops/loss.ts";
import { isTrained, type Parameter, parameterCount } from "../optim/parameters.ts";
import { weightBytes } from "../storage/weights.ts";
import type { Run } from "../train/plan.ts";
import { rememberedBy } from "../train/run_options.ts";
import { type BatchSizes, fullBatches, type PassSize } from "./batch_sizes.ts";
import { type CountedRun, countedRun } from "./counted_passes.ts";

/** Host bytes by class. */
export interface MemoryPrediction {
  /**
   * What will be held at most, in the host's memory or, of a model on a device, where each class lives. `gradients` is exact
   * until rows are touched that were not foreseen.
   */
  readonly bytes: Readonly<Partial<Record<MemoryClass, number>>>;
  readonly totalBytes: number;
  /** Of `activations`: logits of one chunk of the loss. */
  readonly logitsBytes: number;
  /**
   * Bytes of the host by class that will really be touched, and so be resident: rows that no token reaches are reserved, not
   * used.
   * An estimate, for hits spread evenly over the rows.
   */
  readonly residentBytes: Readonly<Partial<Record<MemoryClass, number>>>;
  /** The same once the first step is done: what is less than `bytes` grows as rows are touched, to `bytes` at most. */
  readonly startBytes: Readonly<Partial<Record<MemoryClass, number>>>;
  /** Elements of the adapter, and those of them that are trained. */
  readonly adapterParameters: number;
  readonly trainedParameters: number;
  /** Elements of the model. */
  readonly modelParameters: number;
  /** Adapter parameters over the model's. */
  readonly adapterShare: number;
  /** Persistent bytes of adapter and optimizer for each trained parameter. */
  readonly bytesPerTrainedParameter: number;
}

/** What predictions depend on of a run. */
export type Decided = Pick<Run, "model" | "adapterKind" | "optimizer" | "settings">;

/**
 * Predicts the memory of a run; allocates next to nothing.
 *
 * @param batches The micro-batches it will have; rows of full length when absent
 */
export async function predictMemory(
  run: Decided,
  batches: BatchSizes = fullBatches(run.settings, run.model.config.head),
): Promise<MemoryPrediction> {
  const { model } = run;
  const counted = await countTraining(run, batches);
  const { kernels, params } = counted;
  const held = (name: MemoryClass): number =>
    (kernels.ledger.held.get(name) ?? 0) + (kernels.device?.ledger.held.get(name) ?? 0);
  const bytes = {
    weights: weightBytes(model.checkpoint),
    parameters: held("parameters"),
    optimizer: held("optimizer"),
    gradients: held("gradients"),
    activations: kernels.arena.bytes + kernels.hostArena.bytes,
    workspace: scratchBytes(run, counted, batches),
  };
  const touched = (tokens: number): MemoryPrediction["residentBytes"] =>
    touchedBytes(run, counted, bytes, batches, tokens);
  const trained = countElements(params.parameters.filter(isTrained));
  const adapterParameters = countElements(params.parameters);
  const modelParameters = [...model.checkpoint.tensors.values()]
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  return {
    bytes,
    totalBytes: Object.values(bytes).reduce((sum, value) => sum + value, 0),
    logitsBytes: logitsBytes(kernels, model.config, batches.later ?? batches.first),
    residentBytes: touched(batches.runTokens),
    startBytes: touched(Math.min(batches.stepTokens, batches.runTokens)),
    adapterParameters,
    trainedParameters: trained,
    modelParameters,
    adapterShare: adapterParameters / modelParameters,
    bytesPerTrainedParameter: (bytes.parameters + bytes.optimizer) / Math.max(1, trained),
  };
}

/** All sizes of passes of a run, through the same arenas, which never shrink. */
async function countTraining(
  { model, adapterKind, optimizer, settings }: Decided,
  { first, later, evaluation }: BatchSizes,
): Promise<CountedRun> {
  const tokensPerStep = settings.batch.size * settings.batch.seqLen;
  const counted = countedRun(model, adapterKind, { ...rememberedBy(settings), tokensPerStep });
  optimizer.init(counted.kernels, counted.params.parameters);
  await counted.train(first, { first: true });
  if (later !== null) await counted.train(later);
  if (evaluation !== null) await counted.evaluate(evaluation);
  return counted;
}

function countElements(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, parameter) => sum + parameterCount(parameter), 0);
}

/** Bytes of the logits of one chunk of the loss, the largest single request. */
export function logitsBytes(
  kernels: Kernels,
  { head, vocabSize: vocabulary }: ModelConfig,
  { targets }: PassSize,
): number {
  const vocabSize = head.kind === "classification" ? head.labels.length : vocabulary;
  return Math.min(lossChunkRows(kernels, vocabSize), targets) * vocabSize * BYTES_PER_ELEMENT[kernels.float];
}

/** Of a host beside a device that holds everything that is trained. */
const NOTHING_TRAINED = { parameters: 0, optimizer: 0, gradients: 0 } as const;

/** Bytes of the host by class that are touched once that many tokens have been trained on. */
function touchedBytes(
  { model, adapterKind, optimizer, settings: { batch } }: Decided,
  { kernels: { hostArena } }: CountedRun,
  bytes: Readonly<Record<"weights" | "parameters" | "optimizer" | "gradients", number>>,
  { stepTokens, runTokens }: BatchSizes,
  tokens: number,
): MemoryPrediction["residentBytes"] {
  const { rows } = adapterKind.sizes(model, batch.size * batch.seqLen);
  const onDevice = model.kernels.device !== null;
  const ofHost = {
    ...bytes,
    ...(onDevice && { activations: hostArena.bytes }),
    ...(onDevice && rows === null && NOTHING_TRAINED),
  };
  // Full fine-tuning reads the weights once, into its copies, without touching the mapping.
  if (adapterKind.replacesAll) return { ...ofHost, weights: 0 };
  if (rows === null) return ofHost;
  const reached = optimizer.config["mode"] === "dense" ? 1 : rows.touchedShare(tokens);
  const inStep = rows.touchedShare(Math.min(stepTokens, runTokens));
  return {
    ...ofHost,
    parameters: bytes.parameters * (rows.startShare + (1 - rows.startShare) * reached),
    optimizer: bytes.optimizer * reached,
    gradients: bytes.gradients * Math.min(1, inStep / rows.slotShare),
  };
}

/** What a context takes of scratch at least. */
const SMALLEST_SCRATCH = 2 ** 20;

/** Scratch of the native kernels in all passes, and rotary tables. */
function scratchBytes(
  { model: { parts } }: Decided,
  { kernels: { float, counts: { scratch } } }: CountedRun,
  { longest }: BatchSizes,
): number {
  const tables = Object.values(parts.rotary).reduce(
    (sum, rotary) => sum + ropeTableBytes(rotary, ropeTableRows(rotary, longest), BYTES_PER_ELEMENT[float]),
    0,
  );
  return tables + Math.max(SMALLEST_SCRATCH, scratch.model, scratch.host);
}

/** What Deno's heap and caches grow by once a run is under way, beyond what they held before. Measured: 2 to 8 MiB. */
const RUNTIME_GROWTH_BYTES = 6 * 2 ** 20;

/**
 * Peak of the process: the most that the kernel will have counted as resident (VmHWM) at the run's end, mapped weights
 * included.
 *
 * @param baselineBytes Resident when the prediction is made: the runtime, its code, and the data set
 */
export function processPeakBytes({ residentBytes }: MemoryPrediction, baselineBytes: number): number {
  const classes = Object.values(residentBytes).reduce((sum, bytes) => sum + bytes, 0);
  return baselineBytes + classes + RUNTIME_GROWTH_BYTES;
}
