// SPDX-License-Identifier: Apache-2.0
/** Memory where the model works: the host's own, or a device's, out of reach of the host. */
import type { DeviceMemory } from "../../native/device_memory.ts";
import type { Floats } from "../../tensor/tensor.ts";
import type { Kernels } from "../kernels.ts";

/** Members of {@linkcode Kernels} that this file gives. */
export type MemoryKernels = Pick<Kernels, "modelFloats" | "copy" | "zero" | "read">;

/** All memory is the host's. */
export const hostMemory: MemoryKernels = {
  modelFloats: (count) => new Float32Array(count),
  copy(to, from): void {
    checkLengths(to, from);
    to.set(from);
  },
  zero: (x) => x.fill(0),
  read: (x) => x,
};

/** The model's memory is a device's; arrays of the host are known by not being its. */
export function deviceMemory(device: DeviceMemory): MemoryKernels {
  return {
    modelFloats(count, memoryClass): Float32Array {
      const array = new Float32Array(device.reserve(4 * count, memoryClass), 0, count);
      if (count > 0) device.zero(array);
      return array;
    },

    copy(to, from): void {
      checkLengths(to, from);
      if (device.holds(to) || device.holds(from)) device.copy(to, from);
      else to.set(from);
    },

    zero(x): void {
      if (device.holds(x)) device.zero(x);
      else x.fill(0);
    },

    read(x): Floats {
      if (!device.holds(x)) return x;
      const copy = new Float32Array(x.length);
      device.copy(copy, x);
      return copy;
    },
  };
}

function checkLengths(to: Floats, from: Floats): void {
  if (to.length !== from.length) {
    throw new RangeError(`Cannot copy ${from.length} elements to an array of ${to.length}`);
  }
}
