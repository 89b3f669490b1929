// SPDX-License-Identifier: Apache-2.0
/**
 * How activations travel between the lane of the model and host memory, where the rows of an adapter live. Where both are
 * the same memory, nothing travels ({@linkcode directLink}); a device copies through rings of pinned slots
 * ({@linkcode ringLink}), and the two sides meet by events, never by waiting for the whole device.
 */
import { andThen, type Awaitable } from "../core/awaitable.ts";

/** What travels: activations in the backend's float type, or in bf16. */
export type LinkArray = Float32Array | Float64Array | Uint16Array;

/** An activation on its way to host memory. */
export interface Arrival<A extends LinkArray = LinkArray> {
  /** May be read by the host once `ready` has come. */
  readonly data: A;
  /** Whether `data` is a copy in room that was given for it, and stays as long as that room. */
  readonly kept: boolean;
  /** Comes when the copy is done. Asked once. */
  ready(): Awaitable<void>;
  /** The host reads `data` no more. */
  release(): void;
}

/** Room in host memory for what the host computes and the model needs. */
export interface Landing<A extends LinkArray = LinkArray> {
  /** May be written by the host once `ready` has come. */
  readonly data: A;
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
   * Issues the copy of `from`, as the work given to the model's lane so far leaves it. Work given to that lane before the
   * copy is ready leaves `from` as it is.
   *
   * @param keep Gives host memory in which the copy is to stay; a place of the ring until `release` when absent
   */
  down<A extends LinkArray>(from: A, keep?: (count: number) => A): Arrival<A>;
  /** Room for what is to become `to`, which nothing given to the model's lane from now on reads before it has arrived. */
  landing<A extends LinkArray>(to: A): Landing<A>;
  /**
   * The host has written what was to become `to`: work given to the model's lane from now on sees it there. Nothing happens
   * when there is no landing for it.
   */
  arrive(to: LinkArray): void;
  /**
   * After a failure, when no job of the host uses the link any more: what is under way is waited for, and every place is
   * free again.
   */
  reset(): Awaitable<void>;
  /** Bytes copied since the link was made. */
  readonly bytes: Readonly<LinkBytes>;
}

/** The link of a model whose memory is the host's. */
export function directLink(): HostLink {
  const here = <A extends LinkArray>(data: A) => ({ data, kept: false, ready: () => {}, release: () => {} });
  return {
    direct: true,
    down: (from) => here(from),
    landing: here,
    arrive: () => {},
    reset: () => {},
    bytes: { down: 0, up: 0 },
  };
}

/** Names of a device's three orders of work: that of the model, and one for the copies of each direction. */
export type DeviceStream = "model" | "down" | "up";

/** What a ring needs of a device. All calls but `hostWaits` issue work and return. */
export interface LinkDevice<Event> {
  /** Pinned host memory of `bytes` bytes for copies of that stream, in place of `old`, which is given back. */
  pinned(stream: "down" | "up", bytes: number, old: ArrayBufferLike | null): ArrayBufferLike;
  /** Copies to.length elements, in the order of that stream. */
  copy(stream: "down" | "up", to: LinkArray, from: LinkArray): void;
  /** Marks the work given to a stream so far; moves the mark `again` there when one is given. */
  record(stream: DeviceStream, again: Event | null): Event;
  /** Work given to the stream from now on waits for the mark. Moving the mark later changes nothing about that. */
  streamWaits(stream: DeviceStream, event: Event): void;
  /** Comes when the marked work is done: at once when it is. */
  hostWaits(event: Event): Awaitable<void>;
}

/** A place of a ring. */
interface Slot<Event> {
  memory: ArrayBufferLike | null;
  taken: boolean;
  /** The last copy out of it; null when there is none to wait for. */
  copied: Event | null;
}

/**
 * A link over a device: copies down follow the model's work so far, copies up are waited for by its work from then on.
 *
 * @param slots Places of each direction. Two parts of a micro-batch, of which each has two activations under way going
 *   down (h, or h and dy) and one coming up, need 4.
 */
export function ringLink<Event>(device: LinkDevice<Event>, slots = 4): HostLink {
  const rings = { down: createRing<Event>(slots), up: createRing<Event>(slots) };
  const bytes: LinkBytes = { down: 0, up: 0 };
  const landings = new Map<LinkArray, { readonly slot: Slot<Event>; readonly data: LinkArray }>();
  /** Marks that nobody waits for. */
  const free: Event[] = [];
  const mark = (stream: DeviceStream): Event => device.record(stream, free.pop() ?? null);
  const follow = (stream: "down" | "up"): void => {
    const event = mark("model");
    device.streamWaits(stream, event);
    free.push(event);
  };
  const take = <A extends LinkArray>(direction: "down" | "up", like: A): { slot: Slot<Event>; data: A } => {
    const slot = rings[direction].find(({ taken }) => !taken);
    if (!slot) {
      throw new Error(`All ${slots} slots of the copies ${direction} are in use: the host holds them`);
    }
    if (slot.memory === null || slot.memory.byteLength < like.byteLength) {
      slot.memory = device.pinned(direction, like.byteLength, slot.memory);
    }
    slot.taken = true;
    return { slot, data: viewLike(like, slot.memory) };
  };
  return {
    direct: false,
    down(from, keep) {
      const taken = keep ? null : take("down", from);
      const data = taken?.data ?? (keep as NonNullable<typeof keep>)(from.length);
      follow("down");
      device.copy("down", data, from);
      bytes.down += from.byteLength;
      const copied = mark("down");
      return {
        data,
        kept: taken === null,
        ready: () => andThen(device.hostWaits(copied), () => void free.push(copied)),
        release: () => {
          if (taken) taken.slot.taken = false;
        },
      };
    },
    landing(to) {
      const { slot, data } = take("up", to);
      landings.set(to, { slot, data });
      follow("up"); // what read `to` until now has done so before the copy overwrites it
      const { copied } = slot;
      return { data, ready: () => copied === null ? undefined : device.hostWaits(copied) };
    },
    arrive(to) {
      const landing = landings.get(to);
      if (!landing) return;
      const { slot, data } = landing;
      landings.delete(to);
      device.copy("up", to, data);
      bytes.up += to.byteLength;
      slot.copied = device.record("up", slot.copied);
      device.streamWaits("model", slot.copied);
      slot.taken = false; // its next user waits for the copy
    },
    reset() {
      landings.clear();
      const last = [mark("down"), mark("up")] as const;
      return andThen(device.hostWaits(last[0]), () =>
        andThen(device.hostWaits(last[1]), () => {
          free.push(...last);
          for (const slot of [...rings.down, ...rings.up]) slot.taken = false;
        }));
    },
    bytes,
  };
}

function createRing<Event>(slots: number): Slot<Event>[] {
  return Array.from({ length: slots }, () => ({ memory: null, taken: false, copied: null }));
}

/** An array of the same type and length at the beginning of some memory. */
function viewLike<A extends LinkArray>({ constructor, length }: A, memory: ArrayBufferLike): A {
  return new (constructor as new (memory: ArrayBufferLike, offset: number, length: number) => A)(
    memory,
    0,
    length,
  );
}
