// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel table over libmeft_cuda: the model's work on a device; rows of adapters, and everything in the host's memory,
 * on the CPU by libmeft.
 */
import { type ContextOptions, multipliesBf16, NativeContext } from "../../native/context.ts";
import { DeviceMemory } from "../../native/device_memory.ts";
import { DeviceStreams } from "../../native/device_streams.ts";
import { Lane } from "../../native/lane.ts";
import { createLedger, type Ledger } from "../../native/ledger.ts";
import { MEFT_BF16, MEFT_F32 } from "../../native/symbols.ts";
import { createHostTimes } from "../host_times.ts";
import { composeKernels } from "../kernels/kernels.ts";
import { streamClock } from "./device_link.ts";
import { devicePassMemory, devicePlace } from "./device_place.ts";
import type { Lanes } from "./lanes.ts";
import { modelKernels } from "./model_kernels.ts";
import type { NativeKernels } from "./native_kernels.ts";
import { rowKernels } from "./row_kernels.ts";

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
  const inline = owned.use(new Lane(options.host ?? {}));
  const host = owned.use(new Lane(options.host ?? {}, true));
  const compute = options.compute === "f32" ? "f32" : "bf16";
  const lanes: Lanes = {
    model,
    host,
    inline: inline.context,
    onDevice: (array) => device.holds(array),
    compute: compute === "bf16" ? MEFT_BF16 : MEFT_F32,
    times: createHostTimes(),
  };
  const parts = { device, streams, clock: streamClock(streams), ledger, activations: compute } as const;
  return {
    ...composeKernels({
      backend: "cuda",
      model: modelKernels(lanes, compute),
      rows: rowKernels({ ...lanes, compute: hostCompute(compute, inline.context) }, compute),
      place: devicePlace(parts),
      memory: () => devicePassMemory(parts, options.blockBytes ?? BLOCK_BYTES),
    }),
    backend: "cuda",
    device,
    info: () => model.info(),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** bf16 on the host too where its cores multiply it. */
function hostCompute(compute: "f32" | "bf16", cpu: NativeContext): number {
  return compute === "bf16" && multipliesBf16(cpu.info().target) ? MEFT_BF16 : MEFT_F32;
}
