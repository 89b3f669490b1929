// SPDX-License-Identifier: Apache-2.0
/** What a run will need of host memory, by class, before anything is allocated. */
import { layersOf, linearsOf } from "../models/parts.ts";
import type { ActivationPolicyName } from "../activations/registry.ts";
import type { Adapter, AdapterSizes } from "../adapters/adapter.ts";
import {
  countingArenas,
  logitsBytes,
  type PassPlan,
  type PassSize,
  touchedBytes,
  traceEvaluation,
  tracePass,
} from "../models/footprint.ts";
import type { Model } from "../models/model.ts";
import { ropeTableBytes, ropeTableRows } from "../models/rope.ts";
import { ArenaLayout } from "../native/arena_layout.ts";
import type { MemoryClass } from "../native/ledger.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { lossChunkRows } from "../ops/loss.ts";
import { weightBytes } from "../storage/weights.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { SMALLEST_LOAN_BYTES } from "./idle_gradients.ts";
import { fullLoad, type StepLoad } from "./step_load.ts";
import { workspaceBytes } from "./workspace.ts";
import type { ProductPlace } from "../ops/counting/product_scratch.ts";

const FLOAT_BYTES = 4;

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

/** The micro-batches of a run, as far as memory depends on them. */
export interface BatchSizes {
  /** Largest first micro-batch of a step: activations may lie in gradients that are still idle. */
  readonly first: PassSize;
  /** Largest later micro-batch of a step; null when steps have one. */
  readonly later: PassSize | null;
  /** Largest micro-batch of an evaluation; null without. */
  readonly evaluation: PassSize | null;
  /** Tokens of the longest sequence, of an evaluation too. */
  readonly longest: number;
  /** Most tokens of a step. */
  readonly stepTokens: number;
  /** Tokens of the whole run; Infinity while that is open. */
  readonly runTokens: number;
  /** Of a step, on average. */
  readonly meanStep: StepLoad;
}

/** The settings that memory depends on. */
export interface MemorySettings {
  readonly batch: { readonly size: number; readonly micro: number; readonly seqLen: number };
  readonly activations: ActivationPolicyName;
}

/** Full rows: what is known before there is data. */
export function fullBatches({ batch: { size, micro, seqLen } }: MemorySettings): BatchSizes {
  const pass = (rows: number): PassSize => ({ tokens: rows * seqLen, targets: rows * (seqLen - 1) });
  return {
    first: pass(Math.min(micro, size)),
    later: size > micro ? pass(micro) : null,
    evaluation: null,
    longest: seqLen,
    stepTokens: size * seqLen,
    runTokens: Infinity,
    meanStep: fullLoad(size, seqLen),
  };
}

/** Predicts the memory of a run; allocates nothing. */
export function predictMemory(
  model: Model,
  adapter: Adapter,
  optimizer: Optimizer,
  settings: MemorySettings,
  batches: BatchSizes = fullBatches(settings),
): MemoryPrediction {
  const sizes = adapter.sizes(model, settings.batch.size * settings.batch.seqLen);
  const { parameters, parameterBytes, gradientBytes } = sizes;
  const trained = parameters.filter((parameter) => parameter.trained);
  const count = (list: typeof parameters): number =>
    list.reduce((sum, parameter) => sum + parameter.count, 0);
  const optimizerBytes = trained.reduce((sum, parameter) => sum + optimizer.bytes(parameter), 0);
  const pass = passPlan(model, adapter, sizes, settings.activations);
  const activations = activationBytes(pass, batches);
  const bytes = {
    weights: weightBytes(model.checkpoint),
    parameters: parameterBytes,
    optimizer: optimizerBytes,
    gradients: gradientBytes,
    activations: activations.all,
    workspace: scratchBytes(pass, model, adapter, batches),
  };
  const touched = (tokens: number): MemoryPrediction["residentBytes"] => ({
    ...touchedBytesOf(bytes, sizes, optimizer, batches, { tokens, trainsWeights: pass.full }),
    ...(model.kernels.device !== null && { activations: activations.host }),
    ...(model.kernels.device !== null && sizes.rows === null && NOTHING_TRAINED),
  });
  const modelParameters = [...model.checkpoint.tensors.values()]
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  return {
    bytes,
    totalBytes: Object.values(bytes).reduce((sum, value) => sum + value, 0),
    logitsBytes: logitsBytes(pass, batches.later ?? batches.first),
    residentBytes: touched(batches.runTokens),
    startBytes: touched(Math.min(batches.stepTokens, batches.runTokens)),
    adapterParameters: count(parameters),
    trainedParameters: count(trained),
    modelParameters,
    adapterShare: count(parameters) / modelParameters,
    bytesPerTrainedParameter: (parameterBytes + optimizerBytes) / Math.max(1, count(trained)),
  };
}

/** Of a host beside a device that holds everything that is trained. */
const NOTHING_TRAINED = { parameters: 0, optimizer: 0, gradients: 0 } as const;

/** Bytes by class that are touched once that many tokens have been trained on. */
function touchedBytesOf(
  bytes: Readonly<Record<"weights" | "parameters" | "optimizer" | "gradients", number>>,
  { rows }: AdapterSizes,
  optimizer: Optimizer,
  { stepTokens, runTokens }: BatchSizes,
  { tokens, trainsWeights }: { readonly tokens: number; readonly trainsWeights: boolean },
): MemoryPrediction["residentBytes"] {
  // Full fine-tuning reads the weights once, into its copies, without touching the mapping.
  if (trainsWeights) return { ...bytes, weights: 0 };
  if (rows === null) return bytes;
  const reached = optimizer.config["mode"] === "dense" ? 1 : rows.touchedShare(tokens);
  const inStep = rows.touchedShare(Math.min(stepTokens, runTokens));
  return {
    ...bytes,
    parameters: bytes.parameters * (rows.startShare + (1 - rows.startShare) * reached),
    optimizer: bytes.optimizer * reached,
    gradients: bytes.gradients * Math.min(1, inStep / rows.slotShare),
  };
}

/** All that passes of a run depend on. */
export function passPlan(
  { config, kernels }: Model,
  adapter: Adapter,
  { activations, gradientPieces }: AdapterSizes,
  policy: ActivationPolicyName,
): PassPlan {
  return {
    config,
    policy,
    activationBytes: activationBytesOf(kernels),
    chunkRows: lossChunkRows(kernels, config.vocabSize),
    adapter: activations,
    branch: adapter.sites.includes("ffn"),
    full: adapter.sites.includes("weights"),
    gradientPieces: gradientPieces.map((pieces) => pieces.filter((bytes) => bytes >= SMALLEST_LOAN_BYTES)),
  };
}

/** Of an element as the backend stores activations. */
export function activationBytesOf({ activationDType }: Kernels): number {
  return activationDType === "bf16" ? 2 : 4;
}

/**
 * Bytes that the activations of a step take on a device, whose arenas reserve whole blocks.
 *
 * @param halves Parts that a micro-batch is computed in, each with an arena of its own
 */
export function deviceActivationBytes(
  model: Model,
  adapter: Adapter,
  settings: MemorySettings,
  halves: 1 | 2,
): number {
  const sizes = adapter.sizes(model, settings.batch.size * settings.batch.seqLen);
  // Of gradients only those on the device lodge activations: those of parameters without rows.
  const gradientPieces = sizes.rows === null ? sizes.gradientPieces : [];
  const pass = passPlan(model, adapter, { ...sizes, gradientPieces }, settings.activations);
  const { first, later } = fullBatches(settings);
  const half = ({ tokens, targets }: PassSize): PassSize => ({
    tokens: Math.ceil(tokens / halves),
    targets: Math.ceil(targets / halves),
  });
  let bytes = 0;
  const blockBytes = model.kernels.arena.blockBytes;
  const reserve = (block: number): number => {
    bytes += block;
    return -1;
  };
  const arenas = { model: new ArenaLayout<number>(reserve, { blockBytes }), host: countingArenas().host };
  tracePass(arenas, pass, half(first), true);
  if (later !== null) tracePass(arenas, pass, half(later), false);
  return halves * bytes;
}

/** All sizes of passes through the same arenas, which never shrink. */
function activationBytes(
  pass: PassPlan,
  { first, later, evaluation }: BatchSizes,
): { readonly all: number; readonly host: number } {
  const arenas = countingArenas();
  tracePass(arenas, pass, first, true);
  if (later !== null) tracePass(arenas, pass, later, false);
  if (evaluation !== null) traceEvaluation(arenas, pass, evaluation);
  return { all: touchedBytes(arenas), host: arenas.host.touchedBytes };
}

/** Scratch of the native kernels in all passes, of the largest micro-batch; and rotary tables. */
function scratchBytes(
  pass: PassPlan,
  { kernels, config, parts }: Model,
  adapter: Adapter,
  batches: BatchSizes,
): number {
  const { compute, hostProducts: { threads, operandDType, lanes, panelColumns } } = kernels;
  const place: ProductPlace = {
    threads,
    compute: compute === "bf16" ? "bf16" : "f32",
    operandDType: operandDType === "bf16" ? "bf16" : "f32",
    lanes,
    panelColumns,
  };
  const [first] = (layersOf(parts)[0] ?? []).flatMap((part) => linearsOf(part));
  const weight = first?.weight.dtype ?? "f32";
  const ofPass = (size: PassSize | null, gradient: boolean): number =>
    size === null ? 0 : workspaceBytes(pass, adapter, { place, weight, size, gradient });
  const tables = ropeTableBytes(config, ropeTableRows(config, batches.longest), FLOAT_BYTES);
  return tables +
    Math.max(ofPass(batches.first, true), ofPass(batches.later, true), ofPass(batches.evaluation, false));
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
