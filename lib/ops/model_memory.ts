// SPDX-License-Identifier: Apache-2.0
/** Arrays that lie where the model works: in host memory, booked in the ledger, or on a device, whose library books its own. */
import { account, type MemoryClass } from "../native/ledger.ts";
import type { Floats } from "../tensor/tensor.ts";
import type { Place } from "./kernels/place.ts";

/** Enters an array of the host in the ledger. @mutates k.ledger */
export function holdFloats(k: Place, x: Floats, memoryClass: MemoryClass): void {
  if (!k.device?.holds(x)) account(k.ledger, memoryClass, x.byteLength);
}

/** Takes an array of the host out of the ledger, or gives a device its memory back: the array is spent. */
export function dropFloats(k: Place, x: Floats, memoryClass: MemoryClass): void {
  if (k.device?.holds(x)) k.device.release(x.buffer);
  else account(k.ledger, memoryClass, -x.byteLength);
}

/** Lets the host write all elements of an array, wherever it lies. @mutates x */
export function writeFloats(k: Place, x: Floats, write: (x: Floats) => void): void {
  if (!k.device?.holds(x)) return write(x);
  const host = k.floats(x.length);
  write(host);
  k.copy(x, host);
}

/** Zeroed floats that lie where `beside` does. */
export function floatsBeside(k: Place, beside: Floats, count: number, memoryClass: MemoryClass): Floats {
  return k.device?.holds(beside) ? k.modelFloats(count, memoryClass) : k.floats(count);
}
