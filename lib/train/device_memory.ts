// SPDX-License-Identifier: Apache-2.0
/**
 * What a run would need of a GPU, foretold from shapes alone: no device and no driver is asked. Activations by the engine's
 * own trace, the rest by formulas in elements of M tokens, hidden d, layers L, vocabulary V, adapter rows r of which a token
 * uses K; weights and rows in bf16, activations as products are, the residual stream and what travels in f32.
 */
import type { AdapterSizes } from "../adapters/adapter.ts";
import { countingArenas, logitsBytes, tracePass } from "../models/footprint.ts";
import { countedElements } from "../models/tensor_names.ts";
import { type BatchSizes, fullBatches, passPlan } from "./memory.ts";
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
  const { model: { config }, settings: { batch }, memory, adapterKind } = run;
  const { hiddenSize: d, numHiddenLayers: L } = config;
  const M = Math.max(batches.first.tokens, batches.later?.tokens ?? 0);
  const onHost = adapterKind.kind === "sparse" && placement === "host";
  const sizes = adapterKind.sizes(run.model, batch.size * batch.seqLen);
  const rows = activeRows(sizes, M);
  const pass = passBytes(run, sizes, batches);
  const device: Record<DeviceClass, number> = {
    weights: E * countedElements(config),
    activations: pass.kept,
    "loss chunk": pass.logits,
    // Products convert what is f32: h, dy and the chunk of logits.
    workspace: WORKSPACE_BYTES + E * Math.max(M * d, pass.logits / FLOAT),
    adapter: onHost ? 0 : deviceAdapterBytes(run, rows),
    context: CONTEXT_BYTES,
  };
  const microBatches = Math.ceil(batch.size / batch.micro);
  return {
    placement,
    device,
    deviceTotal: Object.values(device).reduce((sum, bytes) => sum + bytes, 0),
    pinned: onHost ? FLOAT * d * (STAGED_HALVES * Math.ceil(M / 2) + L * M) : 4 * E * rows * d,
    host: adapterKind.kind === "sparse"
      ? hostBytes(memory.bytes)
      : { parameters: 0, optimizer: 0, gradients: 0 },
    // Activations travel token by token, whatever the micro-batches; rows travel for each of these.
    pcie: pcieBytes(run, placement, {
      M: onHost ? batches.meanStep.tokens / microBatches : M,
      rows,
      microBatches,
    }),
  };
}

/** What passes take from the arena, but for the logits of a chunk; and those. */
function passBytes(
  { model, adapterKind, settings }: Run,
  sizes: AdapterSizes,
  { first, later }: BatchSizes,
): { kept: number; logits: number } {
  const pass = passPlan(model, adapterKind, sizes, settings.activations);
  const arenas = countingArenas();
  tracePass(arenas, pass, first, false);
  if (later !== null) tracePass(arenas, pass, later, false);
  const logits = logitsBytes(pass, first);
  return { kept: arenas.model.touchedBytes - logits, logits };
}

function hostBytes(bytes: Run["memory"]["bytes"]): DevicePrediction["host"] {
  const { parameters = 0, optimizer = 0, gradients = 0 } = bytes;
  return { parameters, optimizer, gradients };
}

/** Rows of a layer that a micro-batch of M tokens reaches; 0 where nothing is trained by rows. */
function activeRows({ rows, parameters }: AdapterSizes, M: number): number {
  const all = parameters.find((parameter) => parameter.rows !== null)?.rows ?? 0;
  return rows === null ? 0 : Math.round(all * rows.touchedShare(M));
}

/** With arithmetic on the device: keys and values of the rows in use and their gradients, held until backward. */
function deviceAdapterBytes({ model: { config }, memory, adapterKind: { kind } }: Run, rows: number): number {
  const { hiddenSize: d, numHiddenLayers: L } = config;
  if (kind === "sparse") return L * rows * 2 * d * E + rows * 2 * d * 4;
  // What is trained whole lives on the device: weight, gradient and two moments, in f32.
  return 16 * memory.trainedParameters;
}

/** Activations travel with the adapter on the host, rows and their gradients with it on the device. */
function pcieBytes(
  { model: { config }, adapterKind: { kind } }: Run,
  placement: Placement,
  { M, rows, microBatches }: { readonly M: number; readonly rows: number; readonly microBatches: number },
): DevicePrediction["pcie"] {
  const { hiddenSize: d, numHiddenLayers: L } = config;
  if (kind !== "sparse") return { up: 0, down: 0 };
  const each = placement === "host"
    ? { up: 2 * FLOAT * M * d, down: 2 * FLOAT * M * d } // y and dh; h and dy
    : { up: 2 * E * rows * d, down: 2 * 4 * rows * d }; // keys and values; their gradients in f32
  return { up: L * microBatches * each.up, down: L * microBatches * each.down };
}
