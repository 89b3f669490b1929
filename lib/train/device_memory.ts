// SPDX-License-Identifier: Apache-2.0
/**
 * What a run would need of a GPU, foretold from shapes alone: no device and no driver is asked. Formulas in elements of
 * M tokens, hidden d, inner F, heads H of which Hkv hold keys, layers L, vocabulary V, adapter rows r of which a token
 * uses K; weights and rows in bf16 on the device.
 */
import { countedElements } from "../models/weights.ts";
import { type BatchSizes, fullBatches } from "./memory.ts";
import type { Run } from "./plan.ts";

/** Where the sparse adapter's arithmetic is done. */
export type Placement = "host" | "device";

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
  | "working set"
  | "attention"
  | "loss chunk"
  | "workspace"
  | "adapter"
  | "context";

/** Bytes of a weight or row on the device. */
const E = 2;
/** Of h, y and their gradients, which travel in f32. */
const FLOAT = 4;
/** Rows of logits at a time. */
const LOSS_ROWS = 256;
/** One for each of two streams with matrix products, and tables. */
const WORKSPACE_BYTES = 70e6;
/** Of the driver's context and the libraries' code; 0.4 to 0.7 GB are usual. */
const CONTEXT_BYTES = 600e6;
/** Copies in flight: h, y, dy and dh of two halves of a micro-batch. */
const STAGED_HALVES = 8;

/**
 * Foretells a run on one GPU.
 *
 * @param batches Micro-batches by their real sizes; full rows when absent
 */
export function predictDevice(
  run: Run,
  placement: Placement,
  batches: BatchSizes = fullBatches(run.settings),
): DevicePrediction {
  const { model: { config }, settings: { batch, activations }, memory, adapterKind } = run;
  const { hiddenSize: d, intermediateSize: F, numHiddenLayers: L, numAttentionHeads: H, vocabSize: V } =
    config;
  const M = Math.max(batches.first.tokens, batches.later?.tokens ?? 0);
  const wide = H * config.headDim;
  const kept = 3 * d + 2 * wide + 2 * config.numKeyValueHeads * config.headDim + 2 * F;
  const onHost = adapterKind.kind === "sparse" && placement === "host";
  const rows = activeRows(run, M);
  const e = activationBytes(run);
  const device: Record<DeviceClass, number> = {
    weights: E * countedElements(config),
    activations: activations === "recompute" ? e * L * M * d : L * M * (e * kept + 4 * H + 8),
    "working set": e * M * (10 * d + 6 * F),
    attention: 4 * M * d,
    "loss chunk": Math.min(LOSS_ROWS, M) * V * (E + 4),
    workspace: WORKSPACE_BYTES,
    adapter: onHost ? FLOAT * STAGED_HALVES * Math.ceil(M / 2) * d : deviceAdapterBytes(run, rows),
    context: CONTEXT_BYTES,
  };
  const microBatches = Math.ceil(batch.size / batch.micro);
  return {
    placement,
    device,
    deviceTotal: Object.values(device).reduce((sum, bytes) => sum + bytes, 0),
    pinned: onHost ? FLOAT * d * (STAGED_HALVES * Math.ceil(M / 2) + L * M) : 4 * E * rows * d,
    host: hostBytes(memory.bytes),
    // Activations travel token by token, whatever the micro-batches; rows travel for each of these.
    pcie: pcieBytes(run, placement, {
      M: onHost ? batches.meanStep.tokens / microBatches : M,
      rows,
      microBatches,
    }),
  };
}

/** Activations are of the type of matrix products. */
function activationBytes({ model: { kernels } }: Run): number {
  return kernels.compute === "bf16" ? 2 : 4;
}

function hostBytes(bytes: Run["memory"]["bytes"]): DevicePrediction["host"] {
  const { parameters = 0, optimizer = 0, gradients = 0 } = bytes;
  return { parameters, optimizer, gradients };
}

/** Rows of a layer that a micro-batch reaches, were hits spread evenly: r (1 - exp(-M K / r)). */
function activeRows({ adapterKind: { kind, config } }: Run, M: number): number {
  if (kind !== "sparse") return 0;
  const [r, K] = [Number(config["neurons"]), Number(config["topK"])];
  return Math.ceil(r * (1 - Math.exp(-M * K / r)));
}

/** With arithmetic on the device: keys and values of the rows in use and their gradients, held until backward. */
function deviceAdapterBytes({ model: { config }, memory, adapterKind: { kind } }: Run, rows: number): number {
  const { hiddenSize: d, numHiddenLayers: L } = config;
  if (kind === "sparse") return L * rows * 2 * d * E + rows * 2 * d * 4;
  // Dense adapters live on the device whole: weight in bf16, gradient in f32; their update is the host's.
  return kind === "full" ? 4 * memory.trainedParameters : (E + 4) * memory.trainedParameters;
}

/** Activations travel with the adapter on the host, rows and their gradients with it on the device. */
function pcieBytes(
  { model: { config }, memory, adapterKind: { kind } }: Run,
  placement: Placement,
  { M, rows, microBatches }: { readonly M: number; readonly rows: number; readonly microBatches: number },
): DevicePrediction["pcie"] {
  const { hiddenSize: d, numHiddenLayers: L } = config;
  if (kind !== "sparse") return { up: E * memory.trainedParameters, down: 4 * memory.trainedParameters };
  const each = placement === "host"
    ? { up: 2 * FLOAT * M * d, down: 2 * FLOAT * M * d } // y and dh; h and dy
    : { up: 2 * E * rows * d, down: 2 * 4 * rows * d }; // keys and values; their gradients in f32
  return { up: L * microBatches * each.up, down: L * microBatches * each.down };
}
