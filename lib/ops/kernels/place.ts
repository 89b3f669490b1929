// SPDX-License-Identifier: Apache-2.0
/** Where memory lies, what it is made of, and how values travel: everything of a backend that computes nothing. */
import type { Awaitable } from "../../core/awaitable.ts";
import type { ActivationDType } from "../../core/dtype.ts";
import type { Arena } from "../../native/arena.ts";
import type { Ledger, MemoryClass } from "../../native/ledger.ts";
import type { ActivationArray, Floats, ModelArray } from "../../tensor/tensor.ts";
import type { Device } from "./device.ts";
import type { DeviceClock } from "../device_clock.ts";
import type { HostLink } from "../host_link.ts";

/** What a pass takes its results from: a table of kernels and its twin have each their own. */
export interface PassMemory {
  /** Where op pairs take their results from. */
  readonly arena: Arena;
  /** Uninitialised floats from the arena. */
  arenaFloats(count: number): Floats;
  /** The same of the activations' type. */
  arenaActivations(count: number): ActivationArray;
  /** Uninitialised int32 from the arena: streams in fixed point. */
  arenaIntegers(count: number): Int32Array;
  /** Host memory of a pass: what the host lane reads and keeps for backward. Given back apart from `arena`. */
  readonly hostArena: Arena;
  /** Uninitialised floats from the host arena. */
  hostFloats(count: number): Floats;
  /** How activations reach the host lane and come back. */
  readonly link: HostLink;
}

/** Memory of the model and of the host, and the way between the two. */
export interface Place extends PassMemory {
  /** Type of the residual stream, statistics, parameters' gradients and losses. */
  readonly float: "f32" | "f64";
  /** How an `Activation` is stored. */
  readonly activationDType: ActivationDType;
  /** Host memory, by class. A device books its own. */
  readonly ledger: Ledger;

  /** Where the model's weights and activations lie; null when that is the host's memory, as everything else does. */
  readonly device: Device | null;
  /** Where the time of the device goes; null without one. */
  readonly deviceClock: DeviceClock | null;

  /**
   * Zeroed floats where the model works: for what it reads and writes at every step. On a device their elements are out of
   * reach here, like those of the arena: use copy, zero and read.
   */
  modelFloats(count: number, memoryClass: MemoryClass): Floats;
  /** Like `modelFloats`, of the activations' type. */
  modelActivations(count: number, memoryClass: MemoryClass): ActivationArray;
  /** Zeroed floats owned by the caller, of the backend's float type. */
  floats(count: number): Floats;
  /** Zeroed numbers of rows, slots or steps, in the host's memory, owned by the caller. */
  indices(count: number): Int32Array;

  /** to = from, of the same length and type; each the host's or the device's. */
  copy<A extends ModelArray>(to: A, from: A): void;
  /** x = 0. */
  zero(x: ModelArray): void;
  /**
   * The values as the host sees them: the array itself, or a copy of one that lies on the device, now or when that has made
   * it. Until then x must stay as it is.
   */
  read<A extends ModelArray>(x: A): Awaitable<A>;
  /** Enters what the backend's own scratch memory has grown to in the ledger, as "workspace". */
  accountWorkspace?(): void;
}
