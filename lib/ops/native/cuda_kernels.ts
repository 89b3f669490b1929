// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel table over libmeft_cuda: the model's work on a device; rows of adapters, and everything in the host's memory,
 * on the CPU by libmeft.
 */
import { Arena } from "../../native/arena.ts";
import { type ContextOptions, multipliesBf16, NativeContext } from "../../native/context.ts";
import { DeviceMemory } from "../../native/device_memory.ts";
import { DeviceStreams } from "../../native/device_streams.ts";
import { Lane } from "../../native/lane.ts";
import { createLedger, type Ledger } from "../../native/ledger.ts";
import { MEFT_BF16, MEFT_F32 } from "../../native/symbols.ts";
import { createJobQueue } from "../../core/job_queue.ts";
import { ringLink } from "../host_link.ts";
import { createHostTimes } from "../host_times.ts";
import type { Kernels, OwnMemory } from "../kernels.ts";
import { adamwKernels } from "./adamw.ts";
import { attentionKernels } from "./attention.ts";
import { denseKernels } from "./dense.ts";
import { hostBranch } from "./host_branch.ts";
import { pairKernels } from "./pairs.ts";
import { branchKernels } from "./sparse_branch.ts";
import type { Lanes } from "./lanes.ts";
import { linearKernels } from "./linear.ts";
import { linkDevice, streamClock } from "./device_link.ts";
import { deviceMemory } from "./memory.ts";
import { hostProducts, type NativeKernels } from "./native_kernels.ts";
import { rowKernels } from "./rows.ts";
import { sparseKernels } from "./sparse.ts";

/** Of a block of activations on the device, which takes its memory whole. */
const BLOCK_BYTES = 1 << 26;

/** Choices of {@linkcode cudaKernels}. */
export interface CudaKernelOptions {
  /** Of the CPU lanes. */
  readonly host?: ContextOptions | undefined;
  /** Type of matrix products; `auto` (the default) is bf16. */
  readonly compute?: "f32" | "bf16" | "auto" | undefined;
  /** Of the host's memory; a new ledger when absent. The device's is kept by the library. */
  readonly ledger?: Ledger | undefined;
  /** Bytes of a block of activations on the device. Default 64 MiB. */
  readonly blockBytes?: number | undefined;
}

/** Kernels with a device. */
export interface CudaKernels extends NativeKernels {
  readonly backend: "cuda";
  readonly device: DeviceMemory;
}

/**
 * All kernels with the model on the CUDA device. Use with `using`: disposing them gives all device memory back.
 *
 * @throws {NativeError} When there is no device, saying which of driver and device is missing
 * @throws {Error} When the library is missing, saying what to do
 */
export function cudaKernels(options: CudaKernelOptions = {}): CudaKernels {
  const ledger = options.ledger ?? createLedger();
  const owned = new DisposableStack();
  const model = owned.use(new NativeContext("cuda"));
  const device = owned.use(new DeviceMemory(model));
  const streams = owned.use(new DeviceStreams(model));
  const clock = streamClock(streams);
  const copies = linkDevice(streams, clock);
  const inline = owned.use(new Lane(options.host ?? {}));
  const host = owned.use(new Lane(options.host ?? {}, true));
  const compute = options.compute === "f32" ? "f32" : "bf16";
  const ownMemory = (): OwnMemory => {
    const blockBytes = options.blockBytes ?? BLOCK_BYTES;
    const [arena, hostArena] = [
      new Arena(createLedger(), blockBytes, (bytes) => device.reserve(bytes, "activations")),
      // Activations are copied straight to where the host keeps them.
      new Arena(ledger, blockBytes, (bytes) => streams.reservePinned(bytes)),
    ];
    return {
      arena,
      arenaFloats: (count) => arena.f32(count),
      arenaActivations: (count) => compute === "bf16" ? arena.bf16(count) : arena.f32(count),
      hostArena,
      hostFloats: (count) => hostArena.f32(count),
      link: ringLink(copies),
    };
  };
  const lanes: Lanes = {
    model,
    host,
    inline: inline.context,
    onDevice: (array) => device.holds(array),
    compute: compute === "bf16" ? MEFT_BF16 : MEFT_F32,
    times: createHostTimes(),
  };
  const rows = { ...lanes, compute: hostCompute(compute, inline.context) };
  let twin: Kernels | null = null;
  const first: CudaKernels = {
    backend: "cuda",
    float: "f32",
    compute,
    hostProducts: hostProducts(inline.context.info(), compute),
    activationDType: compute,
    ledger,
    hostJobs: createJobQueue(),
    hostTimes: lanes.times,
    hostBeside: true,
    deviceClock: clock,
    ...ownMemory(),
    twin: () => twin ??= { ...first, ...ownMemory() },
    device,
    ...deviceMemory(device, compute),
    ...rowKernels(lanes),
    ...linearKernels(lanes),
    ...denseKernels(lanes),
    ...attentionKernels(lanes),
    ...hostBranch({ ...sparseKernels(rows), ...branchKernels(rows) }, device),
    ...pairKernels(lanes),
    ...adamwKernels(lanes),
    info: () => model.info(),
    [Symbol.dispose]: () => owned.dispose(),
  };
  return first;
}

/** bf16 on the host too where its cores multiply it. */
function hostCompute(compute: "f32" | "bf16", cpu: NativeContext): number {
  return compute === "bf16" && multipliesBf16(cpu.info().target) ? MEFT_BF16 : MEFT_F32;
}
