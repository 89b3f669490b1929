// SPDX-License-Identifier: Apache-2.0
/**
 * Memory of a device, as array buffers that name it: typed arrays are carved from them and passed to calls like any
 * other, but nothing here may read or write their elements (that ends the process with a sentence). Where a library has
 * no device, there is no such memory.
 */
import { copy, deviceRelease, deviceReserve, deviceResetPeaks, synchronize, zero } from "./calls.ts";
import type { NativeContext } from "./context.ts";
import { readText } from "./library.ts";
import { fromInt64 } from "./scalars.ts";

/** Bytes held by a class, now and at most. */
export interface DeviceBytes {
  readonly bytes: number;
  readonly peakBytes: number;
}

/** What a device is, and what is held on it. */
export interface DeviceFacts {
  readonly backend: string;
  /** As its driver names it. */
  readonly name: string;
  readonly memoryBytes: number;
  readonly freeBytes: number;
  /** By class: weights, activations, workspace, pinned, … */
  readonly ledger: Readonly<Record<string, DeviceBytes>>;
  /** The last request that memory had no room for; null when there was none. */
  readonly refused: { readonly class: string; readonly bytes: number } | null;
}

/** And what is a CUDA device's alone. */
export interface CudaFacts extends DeviceFacts {
  readonly backend: "cuda" | "cuda-emulated";
  /** Compute capability, "9.0". */
  readonly architecture: string;
  /** Newest CUDA version that the driver speaks. */
  readonly driver: string;
  /** Version of cuBLASLt, or why it was not opened; products are then made by a kernel of our own. */
  readonly cublasLt: string;
  /** Which kernels attention is by, and why. */
  readonly attention: string;
}

/** Owns the blocks reserved through it, on the device of one context. Use with `using`. */
export class DeviceMemory implements Disposable {
  readonly #context: NativeContext;
  readonly #addresses = new Map<ArrayBufferLike, bigint>();

  constructor(context: NativeContext) {
    this.#context = context;
  }

  /**
   * Uninitialised memory of the device.
   *
   * @param memoryClass Under which its bytes are booked
   * @throws {NativeError} When memory is out, naming who asked and who holds what
   */
  reserve(bytes: number, memoryClass: string): ArrayBuffer {
    if (bytes === 0) return new ArrayBuffer(0);
    const address = new BigInt64Array(1);
    deviceReserve(this.#context, address, bytes, new TextEncoder().encode(`${memoryClass}\0`));
    const pointer = Deno.UnsafePointer.create(BigInt.asUintN(64, address[0] as bigint));
    if (pointer === null) throw new Error("The library reserved memory at address 0");
    const buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
    this.#addresses.set(buffer, address[0] as bigint);
    return buffer;
  }

  /** Gives a block back once the work that uses it is done; no array of it may be used any more. */
  release(buffer: ArrayBufferLike): void {
    const address = this.#addresses.get(buffer);
    if (address === undefined) return;
    this.#addresses.delete(buffer);
    deviceRelease(this.#context, address);
  }

  /** Runs work that reserves memory for what it makes: when it fails, nothing of that stays reserved. */
  reserving<T>(work: () => T): T {
    const before = new Set(this.#addresses.keys());
    try {
      return work();
    } catch (error) {
      for (const buffer of [...this.#addresses.keys()]) if (!before.has(buffer)) this.release(buffer);
      throw error;
    }
  }

  /** Whether an array lies on the device. */
  holds(array: ArrayBufferView): boolean {
    return this.#addresses.has(array.buffer);
  }

  /** Copies between arrays of equal bytes, at least one of them on the device; done on return unless both are. */
  copy(to: ArrayBufferView, from: ArrayBufferView): void {
    if (to.byteLength !== from.byteLength) {
      throw new RangeError(`Cannot copy ${from.byteLength} bytes to an array of ${to.byteLength}`);
    }
    copy(this.#context, to, from, to.byteLength);
  }

  /** Sets an array on the device to zero. */
  zero(to: ArrayBufferView): void {
    zero(this.#context, to, to.byteLength);
  }

  /** Returns when all work that the context was given is done. */
  synchronize(): void {
    synchronize(this.#context);
  }

  /** What the device is, and the bytes held on it. */
  facts(): CudaFacts {
    const { symbols, pointer } = this.#context;
    return JSON.parse(readText((out, bytes) => symbols.meft_device_facts(pointer, out, bytes)));
  }

  /** Bytes held on the device, all classes but pinned host memory together: now, and the sum of the classes' peaks. */
  bytes(): { readonly held: number; readonly peak: number } {
    let [held, peak] = [0, 0];
    for (const [name, booked] of Object.entries(this.facts().ledger)) {
      if (name === "pinned") continue;
      held += fromInt64("held bytes", BigInt(booked.bytes));
      peak += fromInt64("peak bytes", BigInt(booked.peakBytes));
    }
    return { held, peak };
  }

  /** Peaks become what is held now. */
  resetPeaks(): void {
    deviceResetPeaks(this.#context);
  }

  /** Gives all blocks back. */
  [Symbol.dispose](): void {
    for (const buffer of [...this.#addresses.keys()]) this.release(buffer);
  }
}
