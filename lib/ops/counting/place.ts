// SPDX-License-Identifier: Apache-2.0
/** Memory that is only booked: the host's in a ledger, a device's in one of its own. */
import { Arena } from "../../native/arena.ts";
import { account, createLedger, type Ledger, type MemoryClass } from "../../native/ledger.ts";
import { directLink, type LinkDevice, ringLink } from "../host_link.ts";
import type { Device } from "../kernels/device.ts";
import type { PassMemory, Place } from "../kernels/place.ts";
import { addStream, type LaneMark, type LaneWatch, type Tally } from "./counts.ts";
import { phantom, phantomBuffer, PHANTOMS } from "./phantom.ts";

/** A device that has room for everything. */
export interface CountedDevice extends Device {
  readonly ledger: Ledger;
}

/** A device with nothing on it. */
export function countedDevice(): CountedDevice {
  const ledger = createLedger();
  const blocks = new Map<ArrayBufferLike, MemoryClass>();
  const sum = (bytes: ReadonlyMap<unknown, number>): number => [...bytes.values()].reduce((a, b) => a + b, 0);
  return {
    ledger,
    reserve(bytes, memoryClass) {
      const block = phantomBuffer(bytes);
      blocks.set(block, memoryClass as MemoryClass);
      account(ledger, memoryClass as MemoryClass, bytes);
      return block;
    },
    release(block) {
      const memoryClass = blocks.get(block);
      if (memoryClass === undefined) return;
      blocks.delete(block);
      account(ledger, memoryClass, -block.byteLength);
    },
    reserving: (work) => work(),
    holds: ({ buffer }) => blocks.has(buffer),
    copy: () => {},
    synchronize: () => {},
    facts: () => ({
      backend: "counting",
      name: "counting",
      memoryBytes: Infinity,
      freeBytes: Infinity,
      ledger: {},
      refused: null,
    }),
    bytes: () => ({ held: sum(ledger.held), peak: sum(ledger.peak) }),
    resetPeaks: () => {},
  };
}

/** What a counted place stands for. */
export interface PlaceKind {
  readonly float: Place["float"];
  readonly activationDType: Place["activationDType"];
  readonly device: CountedDevice | null;
  /** Of the arenas. */
  readonly blockBytes: number;
}

/** Arenas and link of a pass. @mutates ledger, and that of the device */
export function passMemory(
  { float, activationDType, device, blockBytes }: PlaceKind,
  ledger: Ledger,
  lanes: LaneWatch | null,
): PassMemory {
  const ofDevice = (bytes: number) => device?.reserve(bytes, "activations") ?? phantomBuffer(bytes);
  // What a device's arena touches of its blocks is of no account: it reserves them whole.
  const arena = new Arena(device ? createLedger() : ledger, blockBytes, ofDevice, PHANTOMS);
  const hostArena = new Arena(ledger, blockBytes, phantomBuffer, PHANTOMS);
  return {
    arena,
    arenaFloats: (count) => arena[float](count),
    arenaActivations: (count) => arena[activationDType](count),
    arenaIntegers: (count) => arena.i32(count),
    hostArena,
    hostFloats: (count) => hostArena[float](count),
    link: device ? ringLink(countedCopies(ledger, lanes)) : directLink(),
  };
}

/** Copies that are done at once, unless somebody knows better, between places of rings that are booked as pinned memory. */
function countedCopies(ledger: Ledger, lanes: LaneWatch | null): LinkDevice<LaneMark> {
  return {
    pinned(_stream, bytes, old) {
      account(ledger, "pinned", bytes - (old?.byteLength ?? 0));
      return phantomBuffer(bytes);
    },
    ...lanes?.link ?? AT_ONCE,
  };
}

const AT_ONCE: LaneWatch["link"] = {
  copy: () => {},
  record: (_stream, again) => again ?? { at: 0 },
  streamWaits: () => {},
  hostWaits: () => {},
};

/** All of {@linkcode Place} but what a pass has of its own. @mutates tally */
export function countedPlace(
  { float, activationDType, device }: PlaceKind,
  ledger: Ledger,
  tally: Tally,
): Omit<Place, keyof PassMemory> {
  const onModel = <Type extends "f32" | "f64" | "bf16">(
    type: Type,
    count: number,
    memoryClass: MemoryClass,
  ) => phantom(type, count, device?.reserve(count * PHANTOMS[type].BYTES_PER_ELEMENT, memoryClass));
  return {
    float,
    activationDType,
    ledger,
    device,
    deviceClock: null,
    modelFloats: (count, memoryClass) => onModel(float, count, memoryClass),
    modelActivations: (count, memoryClass) => onModel(activationDType, count, memoryClass),
    floats: (count) => phantom(float, count),
    indices: (count) => phantom("i32", count),
    copy: (to, from) => addStream(tally, to, from),
    zero: (x) => addStream(tally, x),
    read: (x) => {
      tally.lanes?.read();
      return x;
    },
  };
}
