// SPDX-License-Identifier: Apache-2.0
/**
 * What a run would need of a GPU, predicted from shapes alone: no device and no driver is asked. Activations, slots of rows and
 * what travels by the engine's own passes, counted on a device that takes nothing; weights, in bf16, and the rest by formulas.
 * Rows that work there: what they take is the most that they can, what travels of them is what is to be expected.
 */
import type { Placement, RowPlacement } from "../adapters/adapter.ts";
import type { Awaitable } from "../core/awaitable.ts";
import { countedElements } from "../models/tensor_names.ts";
import type { KernelTraits } from "../ops/counting/counting_kernels.ts";
import type { RowReach } from "../ops/counting/fired_rows.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { unitedNeurons } from "../ops/sparse_pairs.ts";
import type { Run } from "../train/plan.ts";
import { rememberedBy } from "../train/run_options.ts";
import { type BatchSizes, fullBatches } from "./batch_sizes.ts";
import { type CountedRun, countedRun } from "./counted_passes.ts";
import { logitsBytes, type MemoryPrediction, predictMemory } from "./memory.ts";

/** Bytes by class, of one GPU and of the host beside it. */
export interface DevicePrediction {
  readonly placement: Placement;
  readonly device: Readonly<Record<DeviceClass, number>>;
  readonly deviceTotal: number;
  /** Page-locked host memory: rings for copies, and what the host keeps of each layer until backward. */
  readonly pinned: number;
  /** Other host memory by class: parameters, optimizer state, gradients. */
  readonly host: Readonly<Record<"parameters" | "optimizer" | "gradients", number>>;
  /** Bytes over PCIe in one optimizer step, with as many rows as are to be expected. */
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
  const { model: { config }, adapterKind } = run;
  const { hiddenSize: d } = config;
  const M = Math.max(batches.first.tokens, batches.later?.tokens ?? 0);
  const byRows = adapterKind.placements.includes("host");
  const rows: RowPlacement = placement === "device" && byRows
    ? { kind: "device", cachedRows: run.rows.cachedRows }
    : { kind: "host" };
  const counted = countOnDevice(run, rows, "most");
  await counted.train(batches.first, { first: true });
  if (batches.later !== null) await counted.train(batches.later);
  await counted.params.collectGradients?.();
  const logits = logitsBytes(counted.kernels, config, batches.first);
  const { bytes, trainedParameters } = await predictMemory(run);
  const device: Record<DeviceClass, number> = {
    weights: E * countedElements(config),
    activations: counted.kernels.arena.bytes - logits,
    "loss chunk": logits,
    // Products convert what is f32: h, dy and the chunk of logits.
    workspace: WORKSPACE_BYTES + E * Math.max(M * d, logits / FLOAT),
    // What is trained whole lives on the device: weight, gradient and two moments, in f32.
    adapter: byRows ? counted.kernels.device?.ledger.held.get("cache") ?? 0 : 16 * trainedParameters,
    context: CONTEXT_BYTES,
  };
  return {
    placement,
    device,
    deviceTotal: Object.values(device).reduce((sum, bytes) => sum + bytes, 0),
    pinned: byRows ? pinnedBytes(counted) : 0,
    host: byRows ? hostBytes(bytes) : { parameters: 0, optimizer: 0, gradients: 0 },
    pcie: byRows ? await stepTraffic(run, batches, rows) : { up: 0, down: 0 },
  };
}

/** A run as it is computed on a device. */
function countOnDevice(
  { model, adapterKind, settings }: Run,
  placement: RowPlacement,
  reach: RowReach,
): CountedRun {
  const tokensPerStep = settings.batch.size * settings.batch.seqLen;
  const kernels = deviceTraits(model.kernels);
  return countedRun(model, adapterKind, {
    ...rememberedBy(settings),
    tokensPerStep,
    placement,
    reach,
    kernels,
  });
}

/** A device in the place of the kernels that the run was planned with. */
function deviceTraits(kernels: Kernels): KernelTraits {
  const activationDType = kernels.compute === "bf16" ? "bf16" : "f32";
  return { ...kernels, device: true, float: "f32", hostBeside: true, activationDType };
}

/** Page-locked memory: the rings of the link, and what the host keeps of each layer until backward. */
function pinnedBytes({ kernels: { ledger, hostArena } }: CountedRun): number {
  return (ledger.held.get("pinned") ?? 0) + hostArena.bytes;
}

/** Micro-batches that are looked at where rows travel for each: then one is like the other. */
const SEEN = 3;

/** What a mean step moves over the link. Activations travel token by token, whatever the micro-batches. */
async function stepTraffic(
  run: Run,
  { meanStep }: BatchSizes,
  placement: RowPlacement,
): Promise<DevicePrediction["pcie"]> {
  const { adapterKind: { selection }, settings: { batch } } = run;
  // What is once in its slot stays there for the step, where there is room for all.
  const once = placement.kind === "host" || selection === undefined ||
    unitedNeurons({ ...selection, tokens: meanStep.tokens }) <= placement.cachedRows;
  const count = once ? 1 : Math.ceil(batch.size / batch.micro);
  const part = (sum: number): number => Math.round(sum / count);
  const size = { tokens: Math.max(1, part(meanStep.tokens)), targets: part(meanStep.targets) };
  const { kernels: { link }, params, train } = countOnDevice(run, placement, "expected");
  const moved = async (work: () => Awaitable<void>, times = 1): Promise<DevicePrediction["pcie"]> => {
    const { up, down } = link.bytes;
    await work();
    return { up: times * (link.bytes.up - up), down: times * (link.bytes.down - down) };
  };
  const parts: DevicePrediction["pcie"][] = [];
  for (let i = 0; i < Math.min(count, SEEN); i++) {
    const alike = i === SEEN - 1 ? count - i : 1;
    parts.push(await moved(() => train(size, { first: i === 0 }), alike));
  }
  parts.push(await moved(() => params.collectGradients?.()));
  const share = meanStep.tokens / (count * size.tokens);
  const sum = (way: "up" | "down"): number => share * parts.reduce((bytes, one) => bytes + one[way], 0);
  return { up: sum("up"), down: sum("down") };
}

function hostBytes(bytes: MemoryPrediction["bytes"]): DevicePrediction["host"] {
  const { parameters = 0, optimizer = 0, gradients = 0 } = bytes;
  return { parameters, optimizer, gradients };
}
