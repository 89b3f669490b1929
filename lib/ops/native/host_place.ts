// SPDX-License-Identifier: Apache-2.0
/** The place of kernels whose model works in the host's memory. */
import type { ActivationDType } from "../../core/dtype.ts";
import { Arena } from "../../native/arena.ts";
import { hostArray } from "../../native/host_memory.ts";
import type { Ledger } from "../../native/ledger.ts";
import type { ActivationArray } from "../../tensor/tensor.ts";
import { directLink } from "../host_link.ts";
import type { PassMemory, Place } from "../kernels/place.ts";
import { checkPair } from "./arguments.ts";

/** All memory is the host's. */
export function hostPlace(ledger: Ledger, activations: ActivationDType): Omit<Place, keyof PassMemory> {
  return {
    float: "f32",
    activationDType: activations,
    ledger,
    device: null,
    deviceClock: null,
    modelFloats: (count, memoryClass) => hostArray(Float32Array, count, memoryClass),
    modelActivations: (count, memoryClass) =>
      hostArray<ActivationArray>(activations === "bf16" ? Uint16Array : Float32Array, count, memoryClass),
    floats: hostFloats,
    indices: hostIndices,
    copy(to, from): void {
      checkPair(to, from);
      to.set(from);
    },
    zero: (x) => void x.fill(0),
    read: (x) => x,
  };
}

/** Zeroed floats of the host. */
export function hostFloats(count: number): Float32Array {
  return hostArray(Float32Array, count, `an array of ${count} floats`);
}

/** Zeroed indices of the host. */
export function hostIndices(count: number): Int32Array {
  return hostArray(Int32Array, count, `an array of ${count} indices`);
}

/** Two arenas of the host; nothing travels between them. */
export function hostPassMemory(ledger: Ledger, activations: ActivationDType): PassMemory {
  const [arena, hostArena] = [new Arena(ledger), new Arena(ledger)];
  return {
    arena,
    arenaFloats: (count) => arena.f32(count),
    arenaActivations: (count) => activations === "bf16" ? arena.bf16(count) : arena.f32(count),
    arenaIntegers: (count) => arena.i32(count),
    hostArena,
    hostFloats: (count) => hostArena.f32(count),
    link: directLink(),
  };
}
