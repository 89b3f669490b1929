// SPDX-License-Identifier: Apache-2.0
/** Memory of this process and of the machine, as the system counts it, and large arrays of it. */
import process from "node:process";
import { MachineError } from "../core/errors.ts";
import { readTextSync } from "../files/read.ts";

/** A text of `/proc/self`; empty where the system has none, or nothing can be opened any more. */
function processText(name: "status" | "limits"): string {
  try {
    return readTextSync(`/proc/self/${name}`);
  } catch {
    return "";
  }
}

/** Bytes of a line of `/proc/self/status`; null where the system has none. */
function statusBytes(field: "VmHWM" | "VmRSS" | "VmData" | "VmSize"): number | null {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(processText("status"));
  return line?.[1] === undefined ? null : Number(line[1]) * 1024;
}

/** Limits on the memory of a process, by their line in `/proc/self/limits`. */
const LIMITS = [
  { line: "Max data size", used: "VmData", flag: "ulimit -d" },
  { line: "Max address space", used: "VmSize", flag: "ulimit -v" },
] as const;

/** What a limit leaves. */
export interface LimitRoom {
  readonly bytes: number;
  /** How the limit is set. */
  readonly flag: string;
}

/** What the tightest limit on this process's memory leaves; null without one. */
export function limitRoom(): LimitRoom | null {
  const limits = processText("limits");
  let tightest: LimitRoom | null = null;
  for (const { line, used, flag } of LIMITS) {
    const most = new RegExp(`^${line} +(\\d+)`, "m").exec(limits)?.[1];
    const bytes = most === undefined ? null : Math.max(0, Number(most) - (statusBytes(used) ?? 0));
    if (bytes !== null && (tightest === null || bytes < tightest.bytes)) tightest = { bytes, flag };
  }
  return tightest;
}

/** Arrays from here on are worth a look at the limits, which takes 50 microseconds. */
const LARGE_BYTES = 1 << 20;
/**
 * What arrays leave of a limit: when Deno itself is refused memory, it ends the process. Room for its heap, its threads, and
 * what the native library and the tokenizer take beside.
 */
const RESERVE_BYTES = 96 << 20;

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
  const room = bytes < LARGE_BYTES ? null : limitRoom();
  if (room !== null && bytes + RESERVE_BYTES > room.bytes) {
    throw new MachineError(refusal(what, bytes, { ...room, bytes: Math.max(0, room.bytes - RESERVE_BYTES) }));
  }
  try {
    return new kind(length);
  } catch (error) {
    throw isRefusedArray(error) ? new MachineError(refusal(what, bytes, null), { cause: error }) : error;
  }
}

/** Whether an error says that there was no memory for an array. */
export function isRefusedArray(error: unknown): boolean {
  return error instanceof RangeError && error.message === "Array buffer allocation failed";
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function refusal(what: string, bytes: number, room: LimitRoom | null): string {
  const reason = room === null
    ? "the system refused them"
    : `the limit on memory (${room.flag}) leaves ${mebibytes(room.bytes)}`;
  return `Not enough memory: ${what} asked for ${mebibytes(bytes)}, but ${reason}; ${MEMORY_WAY_OUT}`;
}

/** What helps when memory does not suffice. */
export const MEMORY_WAY_OUT =
  "free some memory, raise the limit (ulimit -v, ulimit -d), or ask for less, by smaller micro-batches or shorter sequences";

/** The least that a command needs at its start, measured with the smallest model. */
const START_BYTES = 160 << 20;

/** @throws {MachineError} When a limit leaves too little memory to begin, so that Deno would end without a word */
export function requireStartMemory(): void {
  const room = limitRoom();
  if (room !== null && room.bytes < START_BYTES) {
    throw new MachineError(refusal("the program", START_BYTES, room));
  }
}

/** Bytes resident now: private memory and the touched pages of mapped files. */
export function residentBytes(): number {
  return statusBytes("VmRSS") ?? Deno.memoryUsage().rss;
}

/** Bytes resident at most since the process began; what is resident now where the system does not tell. */
export function peakHostBytes(): number {
  return statusBytes("VmHWM") ?? Deno.memoryUsage().rss;
}

/** Bytes that can still be had, swap included: of the machine, of the share that a container gives, or of the process's limits. */
export function availableHostBytes(): number {
  const machine = process.availableMemory() + Deno.systemMemoryInfo().swapFree;
  const share = process.constrainedMemory() - Deno.memoryUsage().rss;
  return Math.min(machine, share, limitRoom()?.bytes ?? Infinity);
}
