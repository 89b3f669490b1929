// SPDX-License-Identifier: Apache-2.0
/** The place of kernels whose model works on a device: its memory is out of reach of the host. */
import type { ActivationDType } from "../../core/dtype.ts";
import { Arena } from "../../native/arena.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
import type { DeviceStreams } from "../../native/device_streams.ts";
import { hostArray } from "../../native/host_memory.ts";
import { createLedger, type Ledger, type MemoryClass } from "../../native/ledger.ts";
import type { ActivationArray, ModelArray } from "../../tensor/tensor.ts";
import type { DeviceClock } from "../device_clock.ts";
import { ringLink } from "../host_link.ts";
import type { PassMemory, Place } from "../kernels/place.ts";
import { checkPair } from "./arguments.ts";
import { linkDevice } from "./device_link.ts";
import { hostFloats, hostIndices } from "./host_place.ts";

/** A device with its streams, and how the host keeps books. */
export interface DeviceParts {
  readonly device: DeviceMemory;
  readonly streams: DeviceStreams;
  readonly clock: DeviceClock;
  /** Of the host's memory. */
  readonly ledger: Ledger;
  readonly activations: ActivationDType;
}

/** The model's memory is a device's; arrays of the host are known by not being its. */
export function devicePlace(
  { device, clock, ledger, activations }: DeviceParts,
): Omit<Place, keyof PassMemory | "device"> & { readonly device: DeviceMemory } {
  const zeroed = <A extends ActivationArray>(array: A): A => {
    if (array.length > 0) device.zero(array);
    return array;
  };
  const floats = (count: number, memoryClass: MemoryClass): Float32Array =>
    zeroed(new Float32Array(device.reserve(4 * count, memoryClass), 0, count));
  return {
    float: "f32",
    activationDType: activations,
    ledger,
    device,
    deviceClock: clock,
    modelFloats: floats,
    modelActivations: (count, memoryClass) =>
      activations === "bf16"
        ? zeroed(new Uint16Array(device.reserve(2 * count, memoryClass), 0, count))
        : floats(count, memoryClass),
    floats: hostFloats,
    indices: hostIndices,

    copy(to, from): void {
      checkPair(to, from);
      if (device.holds(to) || device.holds(from)) device.copy(to, from);
      else to.set(from);
    },

    zero(x): void {
      if (device.holds(x)) device.zero(x);
      else x.fill(0);
    },

    read<A extends ModelArray>(x: A): A {
      if (!device.holds(x)) return x;
      const kind = [Uint16Array, Int32Array].find((kind) => x instanceof kind) ?? Float32Array;
      const copy = hostArray<ModelArray>(kind, x.length, "a copy of device memory");
      device.copy(copy, x);
      return copy as A;
    },
  };
}

/** An arena of the device, one of the host's pinned memory, and a link of the device's streams between the two. */
export function devicePassMemory(
  { device, streams, clock, ledger, activations }: DeviceParts,
  blockBytes: number,
): PassMemory {
  const arena = new Arena(createLedger(), blockBytes, (bytes) => device.reserve(bytes, "activations"));
  // Activations are copied straight to where the host keeps them.
  const hostArena = new Arena(ledger, blockBytes, (bytes) => streams.reservePinned(bytes));
  return {
    arena,
    arenaFloats: (count) => arena.f32(count),
    arenaActivations: (count) => activations === "bf16" ? arena.bf16(count) : arena.f32(count),
    arenaIntegers: (count) => arena.i32(count),
    hostArena,
    hostFloats: (count) => hostArena.f32(count),
    link: ringLink(linkDevice(streams, clock)),
  };
}
