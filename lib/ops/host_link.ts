// SPDX-License-Identifier: Apache-2.0
/**
 * How activations travel between the lane of the model and host memory, where the rows of an adapter live. Where both are
 * the same memory, nothing travels ({@linkcode directLink}); a device copies through rings of pinned slots
 * ({@linkcode ringLink}), and the two sides meet by events, never by waiting for the whole device.
 */
import type { Awaitable } from "../core/awaitable.ts";
import type { Floats } from "../tensor/tensor.ts";

/** An activation on its way to host memory. */
export interface Arrival {
  /** May be read by the host once `ready` has come. */
  readonly data: Floats;
  /** Whether `data` is a copy in room that was given for it, and stays as long as that room. */
  readonly kept: boolean;
  /** Comes when the copy is done. Asked once. */
  ready(): Awaitable<void>;
  /** The host reads `data` no more. */
  release(): void;
}

/** Room in host memory for what the host computes and the model needs. */
export interface Landing {
  /** May be written by the host once `ready` has come. */
  readonly data: Floats;
  /** Comes when the copy that last read this room is done. Asked once. */
  ready(): Awaitable<void>;
}

/** Bytes that travelled. */
export interface LinkBytes {
  down: number;
  up: number;
}

/** Both directions. Its calls only issue work: none waits. */
export interface HostLink {
  /** Whether model and host share their memory. */
  readonly direct: boolean;
  /**
   * Issues the copy of `from`, as the work given to the model's lane so far leaves it.
   *
   * @param keep Gives host memory in which the copy is to stay; a place of the ring until `release` when absent
   */
  down(from: Floats, keep?: (count: number) => Floats): Arrival;
  /** Room for what is to become `to`. */
  landing(to: Floats): Landing;
  /**
   * The host has written what was to become `to`: work given to the model's lane from now on sees it there. Nothing happens
   * when there is no landing for it.
   */
  arrive(to: Floats): void;
  /** Bytes copied since the link was made. */
  readonly bytes: Readonly<LinkBytes>;
}

/** The link of a model whose memory is the host's. */
export function directLink(): HostLink {
  const here = (data: Floats) => ({ data, kept: false, ready: () => {}, release: () => {} });
  return {
    direct: true,
    down: (from) => here(from),
    landing: here,
    arrive: () => {},
    bytes: { down: 0, up: 0 },
  };
}

/** Names of a device's three orders of work: that of the model, and one for the copies of each direction. */
export type DeviceStream = "model" | "down" | "up";

/** What a ring needs of a device. All calls but `hostWaits` issue work and return. */
export interface LinkDevice<Event> {
  /** Pinned host memory of at least `count` floats. */
  pinned(count: number): Floats;
  /** Copies to.length floats, in the order of that stream. */
  copy(stream: "down" | "up", to: Floats, from: Floats): void;
  /** Marks the work given to a stream so far. */
  record(stream: DeviceStream): Event;
  /** Work given to the stream from now on waits for the mark. */
  streamWaits(stream: DeviceStream, event: Event): void;
  /** Comes when the marked work is done. */
  hostWaits(event: Event): Promise<void>;
}

/** A place of a ring. */
interface Slot<Event> {
  data: Floats;
  taken: boolean;
  /** The last copy out of it; null when there is none to wait for. */
  copied: Event | null;
}

/**
 * A link over a device: copies down follow the model's work so far, copies up are waited for by its work from then on.
 *
 * @param slots Places of each direction. Two halves of a micro-batch, of which each has two activations under way going
 *   down (h, or h and dy) and one coming up, need 4.
 */
export function ringLink<Event>(device: LinkDevice<Event>, slots = 4): HostLink {
  const rings = { down: createRing<Event>(slots), up: createRing<Event>(slots) };
  const bytes: LinkBytes = { down: 0, up: 0 };
  const landings = new Map<Floats, Slot<Event>>();
  const take = (direction: "down" | "up", count: number): Slot<Event> => {
    const slot = rings[direction].find(({ taken }) => !taken);
    if (!slot) {
      throw new Error(`All ${slots} slots of the copies ${direction} are in use: the host holds them`);
    }
    if (slot.data.length < count) slot.data = device.pinned(count);
    slot.taken = true;
    return slot;
  };
  return {
    direct: false,
    down(from, keep) {
      const slot = keep ? null : take("down", from.length);
      const data = slot
        ? slot.data.subarray(0, from.length)
        : (keep as (count: number) => Floats)(from.length);
      device.streamWaits("down", device.record("model"));
      device.copy("down", data, from);
      bytes.down += from.byteLength;
      const copied = device.record("down");
      return {
        data,
        kept: slot === null,
        ready: () => device.hostWaits(copied),
        release: () => {
          if (slot) slot.taken = false;
        },
      };
    },
    landing(to) {
      const slot = take("up", to.length);
      landings.set(to, slot);
      const { copied } = slot;
      const ready = () => copied === null ? undefined : device.hostWaits(copied);
      return { data: slot.data.subarray(0, to.length), ready };
    },
    arrive(to) {
      const slot = landings.get(to);
      if (!slot) return;
      landings.delete(to);
      device.copy("up", to, slot.data.subarray(0, to.length));
      bytes.up += to.byteLength;
      slot.copied = device.record("up");
      device.streamWaits("model", slot.copied);
      slot.taken = false; // its next user waits for the copy
    },
    bytes,
  };
}

function createRing<Event>(slots: number): Slot<Event>[] {
  return Array.from({ length: slots }, () => ({ data: new Float32Array(0), taken: false, copied: null }));
}
