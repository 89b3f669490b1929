// SPDX-License-Identifier: Apache-2.0
/** Memory of this process and of the machine, as the system counts it, and large arrays of it. */
import process from "node:process";
import { MachineError } from "../core/errors.ts";
import { type ProcessMemory, smallContext } from "./context.ts";
import { isLibraryOpen } from "./library.ts";

/** How a limit on memory is set, by its number in `meft_ctx_info`. */
const LIMIT_FLAGS = ["", "ulimit -d", "ulimit -v"] as const;

/** What a limit leaves. */
export interface LimitRoom {
  readonly bytes: number;
  /** How the limit is set. */
  readonly flag: string;
}

/** Null before the native library, which alone may ask the system, is open. */
function processMemory(): ProcessMemory | null {
  if (!isLibraryOpen()) return null;
  try {
    using context = smallContext();
    return context.processMemory();
  } catch {
    return null; // no memory even for that: whoever asks for more says so
  }
}

/** What the tightest limit on this process's memory leaves; null without one, and before the native library is open. */
export function limitRoom(): LimitRoom | null {
  const { limit = 0, limitBytes: bytes = 0 } = processMemory() ?? {};
  const flag = LIMIT_FLAGS[limit] ?? "";
  return flag === "" ? null : { flag, bytes };
}

/**
 * What requests leave of a limit: when Deno itself is refused memory, it ends the process. Room for its heap and its threads,
 * and for small things of the native library.
 */
const RESERVE_BYTES = 96 << 20;

/**
 * To be called before something that takes memory by itself, and ends the process when it gets none.
 *
 * @param what Who asks, for the message: "the tokenizer"
 * @throws {MachineError} When a limit leaves less than `bytes`
 */
export function requireRoom(what: string, bytes: number): void {
  const room = limitRoom();
  if (room === null || bytes + RESERVE_BYTES <= room.bytes) return;
  const left = mebibytes(Math.max(0, room.bytes - RESERVE_BYTES));
  throw new MachineError(refusal(what, bytes, `the limit on memory (${room.flag}) leaves ${left}`));
}

/** Arrays from here on are worth a look at the limits, which takes 50 microseconds. */
const LARGE_BYTES = 1 << 20;

/** A typed array's kind. */
interface ArrayKind<A> {
  new (length: number): A;
  readonly BYTES_PER_ELEMENT: number;
}

/**
 * Zeros of the host.
 *
 * @param what Who asks, for the message: "the parameters"
 * @throws {MachineError} When memory does not suffice: who asked for how much, and the way out
 */
export function hostArray<A>(kind: ArrayKind<A>, length: number, what: string): A {
  const bytes = length * kind.BYTES_PER_ELEMENT;
  if (bytes >= LARGE_BYTES) requireRoom(what, bytes);
  try {
    return new kind(length);
  } catch (error) {
    if (!isRefusedArray(error)) throw error;
    throw new MachineError(refusal(what, bytes, "the system refused them"), { cause: error });
  }
}

/** Whether an error says that there was no memory for an array. */
export function isRefusedArray(error: unknown): boolean {
  return error instanceof RangeError && error.message === "Array buffer allocation failed";
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function refusal(what: string, bytes: number, reason: string): string {
  return `Not enough memory: ${what} asked for ${mebibytes(bytes)}, but ${reason}; ${MEMORY_WAY_OUT}`;
}

/** What helps when memory does not suffice. */
export const MEMORY_WAY_OUT =
  "free some memory, raise the limit (ulimit -v, ulimit -d), or ask for less, by smaller micro-batches or shorter sequences";

/** Bytes resident now: private memory and the touched pages of mapped files. */
export function residentBytes(): number {
  return Deno.memoryUsage().rss;
}

/** Bytes resident at most since the process began; what is resident now before the native library is open. */
export function peakHostBytes(): number {
  return processMemory()?.peakBytes || residentBytes();
}

/** Bytes that can still be had, swap included: of the machine, of the share that a container gives, or of the process's limits. */
export function availableHostBytes(): number {
  const machine = process.availableMemory() + Deno.systemMemoryInfo().swapFree;
  const share = process.constrainedMemory() - residentBytes();
  return Math.min(machine, share, limitRoom()?.bytes ?? Infinity);
}
