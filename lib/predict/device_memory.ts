// SPDX-License-Identifier: Apache-2.0
/**
 * What a run would need of a GPU, predicted from shapes alone: no device and no driver is asked. Activations and what travels
 * beside them by the engine's own passes, counted on a device that takes nothing; the rest by formulas in elements of M tokens, hidden d, layers L, vocabulary V, adapter rows r of which a token
 * uses K; weights and rows in bf16, activations as products are, the residual stream and what travels in f32.
 */
import type { AdapterSizes, Placement } from "../adapters/adapter.ts";
import { countedElements } from "../models/tensor_names.ts";
import type { KernelTraits } from "../ops/counting/counting_kernels.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Run } from "../train/plan.ts";
import { type BatchSizes, fullBatches } from "./batch_sizes.ts";
import { type CountedRun, countedRun } from "./counted_passes.ts";
import { logitsBytes, type MemoryPrediction, predictMemory } from "./memory.ts";

/** Bytes by class, of one GPU and of the host beside it. */
export interface DevicePrediction {
  readonly placement: Placement;
  readonly device: Readonly<Record<DeviceClass, number>>;
  readonly deviceTotal: number;
  /** Page-locked host memory: rings for copies, and what the host keeps of each layer's input. */
  readonly pinned: number;
  /** Other host memory by class: parameters, optimizer state, gradients. */
  readonly host: Readonly<Record<"parameters" | "optimizer" | "gradients", number>>;
  /** Bytes over PCIe in one optimizer step. */
  readonly pcie: { readonly up: number; readonly down: number };
}

/** Classes of device memory. */
export type DeviceClass =
  | "weights"
  | "activations"
  | "loss chunk"
  | "workspace"
  | "adapter"
  | "context";

/** Bytes of a weight or row on the device. */
const E = 2;
/** Of the residual stream, h, y and their gradients. */
const FLOAT = 4;
/** One for each of two streams with matrix products, and tables. */
const WORKSPACE_BYTES = 70e6;
/** Of the driver's context and the libraries' code; 0.4 to 0.7 GB are usual. */
const CONTEXT_BYTES = 600e6;
/**
 * Predicts a run on one GPU.
 *
 * @param batches Micro-batches by their real sizes; full rows when absent
 */
export async function predictDevice(
  run: Run,
  placement: Placement,
  batches: BatchSizes = fullBatches(run.settings, run.model.config.head),
): Promise<DevicePrediction> {
  const { model: { config }, settings: { batch }, adapterKind } = run;
  const { hiddenSize: d } = config;
  const M = Math.max(batches.first.tokens, batches.later?.tokens ?? 0);
  const byRows = adapterKind.placements.includes("host");
  const onHost = byRows && placement === "host";
  const rows = activeRows(adapterKind.sizes(run.model, batch.size * batch.seqLen), M);
  const counted = await countOnDevice(run, batches);
  const logits = logitsBytes(counted.kernels, config, batches.first);
  const { bytes, trainedParameters } = await predictMemory(run);
  const device: Record<DeviceClass, number> = {
    weights: E * countedElements(config),
    activations: counted.kernels.arena.bytes - logits,
    "loss chunk": logits,
    // Products convert what is f32: h, dy and the chunk of logits.
    workspace: WORKSPACE_BYTES + E * Math.max(M * d, logits / FLOAT),
    // What is trained whole lives on the device: weight, gradient and two moments, in f32.
    adapter: onHost ? 0 : byRows ? await slotBytes(run) : 16 * trainedParameters,
    context: CONTEXT_BYTES,
  };
  return {
    placement,
    device,
    deviceTotal: Object.values(device).reduce((sum, bytes) => sum + bytes, 0),
    pinned: onHost ? pinnedBytes(counted) : 4 * E * rows * d,
    host: byRows ? hostBytes(bytes) : { parameters: 0, optimizer: 0, gradients: 0 },
    pcie: onHost ? tokenTraffic(counted, batches) : rowTraffic(run, rows),
  };
}

/** The largest micro-batches of a run, as they are computed on a device with the arithmetic of rows on the host. */
async function countOnDevice(
  { model, adapterKind, settings: { activations, batch } }: Run,
  { first, later }: BatchSizes,
): Promise<CountedRun> {
  const counted = countedRun(model, adapterKind, {
    activations,
    tokensPerStep: batch.size * batch.seqLen,
    kernels: deviceTraits(model.kernels),
  });
  await counted.train(first, { first: true });
  if (later !== null) await counted.train(later);
  return counted;
}

/** A device in the place of the kernels that the run was planned with. */
function deviceTraits(kernels: Kernels): KernelTraits {
  const activationDType = kernels.compute === "bf16" ? "bf16" : "f32";
  return { ...kernels, device: true, float: "f32", hostBeside: true, activationDType };
}

/** Places on the device for keys, values and their gradients, and the router: of all rows in every layer, unless fewer were asked for. */
async function slotBytes({ model, adapterKind, rows: { cachedRows } }: Run): Promise<number> {
  const counted = countedRun(model, adapterKind, {
    activations: "store",
    tokensPerStep: 1,
    placement: { kind: "device", cachedRows },
    kernels: deviceTraits(model.kernels),
  });
  await counted.train({ tokens: 1, targets: 1 });
  return counted.kernels.device?.ledger.held.get("cache") ?? 0;
}

/** Page-locked memory: the rings of the link, and what the host keeps of each layer until backward. */
function pinnedBytes({ kernels: { ledger, hostArena } }: CountedRun): number {
  return (ledger.held.get("pinned") ?? 0) + hostArena.bytes;
}

/** Activations travel token by token, whatever the micro-batches. */
function tokenTraffic(
  { kernels: { link: { bytes } } }: CountedRun,
  { first, later, meanStep }: BatchSizes,
): DevicePrediction["pcie"] {
  const tokens = first.tokens + (later?.tokens ?? 0);
  const ofStep = (counted: number): number => counted / Math.max(1, tokens) * meanStep.tokens;
  return { up: ofStep(bytes.up), down: ofStep(bytes.down) };
}

function hostBytes(bytes: MemoryPrediction["bytes"]): DevicePrediction["host"] {
  const { parameters = 0, optimizer = 0, gradients = 0 } = bytes;
  return { parameters, optimizer, gradients };
}

/** Rows of a layer that a micro-batch of M tokens reaches; 0 where nothing is trained by rows. */
function activeRows({ rows, parameters }: AdapterSizes, M: number): number {
  const all = parameters.find((parameter) => parameter.rows !== null)?.rows ?? 0;
  return rows === null ? 0 : Math.round(all * rows.touchedShare(M));
}

/** Keys and values of the rows in use go up for each micro-batch, their gradients come down in f32. */
function rowTraffic(
  { model: { config }, settings: { batch } }: Run,
  rows: number,
): DevicePrediction["pcie"] {
  const { hiddenSize: d, numHiddenLayers: L } = config;
  const visits = L * Math.ceil(batch.size / batch.micro) * rows * 2 * d;
  return { up: visits * E, down: visits * FLOAT };
}
