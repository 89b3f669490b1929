// SPDX-License-Identifier: Apache-2.0
/** Memory where the model works: the host's own, or a device's, out of reach of the host. */
import type { ActivationDType } from "../../core/dtype.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
import { hostArray } from "../../native/host_memory.ts";
import type { MemoryClass } from "../../native/ledger.ts";
import type { ActivationArray } from "../../tensor/tensor.ts";
import type { Kernels } from "../kernels.ts";

/** Members of {@linkcode Kernels} that this file gives. */
export type MemoryKernels = Pick<Kernels, "modelFloats" | "modelActivations" | "copy" | "zero" | "read">;

/** All memory is the host's. */
export function hostMemory(activations: ActivationDType): MemoryKernels {
  return {
    modelFloats: (count, memoryClass) => hostArray(Float32Array, count, memoryClass),
    modelActivations: (count, memoryClass) =>
      hostArray<ActivationArray>(activations === "bf16" ? Uint16Array : Float32Array, count, memoryClass),
    copy(to, from): void {
      checkPair(to, from);
      to.set(from);
    },
    zero: (x) => void x.fill(0),
    read: (x) => x,
  };
}

/** The model's memory is a device's; arrays of the host are known by not being its. */
export function deviceMemory(device: DeviceMemory, activations: ActivationDType): MemoryKernels {
  const zeroed = <A extends ActivationArray>(array: A): A => {
    if (array.length > 0) device.zero(array);
    return array;
  };
  const floats = (count: number, memoryClass: MemoryClass): Float32Array =>
    zeroed(new Float32Array(device.reserve(4 * count, memoryClass), 0, count));
  return {
    modelFloats: floats,
    modelActivations: (count, memoryClass) =>
      activations === "bf16"
        ? zeroed(new Uint16Array(device.reserve(2 * count, memoryClass), 0, count))
        : floats(count, memoryClass),

    copy(to, from): void {
      checkPair(to, from);
      if (device.holds(to) || device.holds(from)) device.copy(to, from);
      else to.set(from);
    },

    zero(x): void {
      if (device.holds(x)) device.zero(x);
      else x.fill(0);
    },

    read<A extends ActivationArray>(x: A): A {
      if (!device.holds(x)) return x;
      const kind = x instanceof Uint16Array ? Uint16Array : Float32Array;
      const copy = hostArray<ActivationArray>(kind, x.length, "a copy of device memory");
      device.copy(copy, x);
      return copy as A;
    },
  };
}

function checkPair(to: ActivationArray, from: ActivationArray): void {
  if (to.BYTES_PER_ELEMENT !== from.BYTES_PER_ELEMENT) {
    throw new TypeError(`Cannot copy a ${from.constructor.name} to a ${to.constructor.name}`);
  }
  if (to.length !== from.length) {
    throw new RangeError(`Cannot copy ${from.length} elements to an array of ${to.length}`);
  }
}
