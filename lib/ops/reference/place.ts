// SPDX-License-Identifier: Apache-2.0
/** The place of the reference backend: f64 in the host's memory. */
import { Arena } from "../../native/arena.ts";
import type { Ledger } from "../../native/ledger.ts";
import { directLink } from "../host_link.ts";
import type { PassMemory, Place } from "../kernels/place.ts";

const ARENA_BLOCK_BYTES = 1 << 20;

/** All memory is the host's, and everything in it f64. */
export function referencePlace(ledger: Ledger): Omit<Place, keyof PassMemory> {
  const floats = (count: number): Float64Array => new Float64Array(count);
  return {
    float: "f64",
    activationDType: "f64",
    ledger,
    device: null,
    deviceClock: null,
    modelFloats: floats,
    modelActivations: floats,
    floats,
    indices: (count) => new Int32Array(count),
    copy: (to, from) => to.set(from),
    zero: (x) => void x.fill(0),
    read: (x) => x,
  };
}

/** Two arenas; nothing travels between them. */
export function referencePassMemory(ledger: Ledger): PassMemory {
  const [arena, hostArena] = [new Arena(ledger, ARENA_BLOCK_BYTES), new Arena(ledger, ARENA_BLOCK_BYTES)];
  return {
    arena,
    arenaFloats: (count) => arena.f64(count),
    arenaActivations: (count) => arena.f64(count),
    arenaIntegers: (count) => arena.i32(count),
    hostArena,
    hostFloats: (count) => hostArena.f64(count),
    link: directLink(),
  };
}
