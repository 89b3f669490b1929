// SPDX-License-Identifier: Apache-2.0
/** A device with memory of its own, as the product sees it whatever library drives it. */
import type { DeviceFacts } from "../../native/device_memory.ts";

/**
 * Memory that kernels reach and the host does not: typed arrays are carved from its blocks and passed to kernels like any
 * other, but their elements may neither be read nor written here.
 */
export interface Device {
  /**
   * Uninitialised memory, booked under a class.
   *
   * @throws {NativeError} When memory is out, naming who asked and who holds what
   */
  reserve(bytes: number, memoryClass: string): ArrayBuffer;
  /** Gives a block back once the work that uses it is done; no array of it may be used any more. */
  release(buffer: ArrayBufferLike): void;
  /** Runs work that reserves memory for what it makes: when it fails, nothing of that stays reserved. */
  reserving<T>(work: () => T): T;
  /** Whether an array lies on the device. */
  holds(array: ArrayBufferView): boolean;
  /** Copies between arrays of equal bytes, at least one of them on the device. */
  copy(to: ArrayBufferView, from: ArrayBufferView): void;
  /** Returns when all work that the device was given is done. */
  synchronize(): void;
  facts(): DeviceFacts;
  /** Bytes held, all classes but pinned host memory together: now, and the sum of the classes' peaks. */
  bytes(): { readonly held: number; readonly peak: number };
  /** Peaks become what is held now. */
  resetPeaks(): void;
}
