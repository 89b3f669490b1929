// SPDX-License-Identifier: Apache-2.0
/** What kernels were asked for, added up. */
import type { LinkDevice } from "../host_link.ts";

/** Work by kind. */
export interface Work {
  /** Operations of matrix products, a multiplication and an addition being two: of `forward`, and of gradients. */
  forward: number;
  backward: number;
  /** Operations of attention, both ways. */
  attention: number;
  /** Bytes that elementwise kernels, norms and copies read and write. */
  streamBytes: number;
}

/** Whose work it is. */
export type Worker = "model" | "adapter";

/** Work of the host lane: scores of rows, products that go pair by pair, and bytes read and written. */
export type HostWork = "scores" | "pairs" | "bytes";

/** A place in the order of one lane's work. */
export interface LaneMark {
  at: number;
}

/**
 * Who is told of everything that the lanes of a device and of the host beside it are given, in the order in which they are given
 * it: to know when it would be done.
 */
export interface LaneWatch {
  /** The model's lane is given operations, or bytes to read and write. */
  model(kind: keyof Work, amount: number): void;
  /** The host lane is given operations or bytes. @param written What the model's lane is to get of it; null for nothing */
  host(kind: HostWork, amount: number, written: ArrayBufferView | null): void;
  /** Copies between the two, and their marks. */
  readonly link: Omit<LinkDevice<LaneMark>, "pinned">;
  /** Whoever gives work waits for all that the model's lane was given. */
  read(): void;
}

/** All that is counted. */
export interface Counts {
  readonly work: Readonly<Record<Worker, Work>>;
  /** Most bytes of scratch that one call takes, of the model's lane and of the host lane. */
  readonly scratch: { model: number; host: number };
  /** Who is told which lane is given what; null where nobody asks. */
  readonly lanes: LaneWatch | null;
}

/** Where the work of one worker is put down. */
export interface Tally extends Pick<Counts, "scratch" | "lanes"> {
  readonly work: Work;
}

/** Nothing yet. */
export function createCounts(lanes: LaneWatch | null = null): Counts {
  const work = (): Work => ({ forward: 0, backward: 0, attention: 0, streamBytes: 0 });
  return { work: { model: work(), adapter: work() }, scratch: { model: 0, host: 0 }, lanes };
}

/** The tally of a worker. */
export function tallyOf({ work, scratch, lanes }: Counts, worker: Worker): Tally {
  return { work: work[worker], scratch, lanes };
}

/** Work of the model's lane. @mutates tally */
export function addWork({ work, lanes }: Tally, kind: keyof Work, amount: number): void {
  work[kind] += amount;
  lanes?.model(kind, amount);
}

/** Products of the host lane. @param written What the model's lane is to get of them. @mutates tally */
export function addHostWork(
  { work, lanes }: Tally,
  direction: "forward" | "backward",
  kind: HostWork,
  operations: number,
  written: ArrayBufferView | null,
): void {
  work[direction] += operations;
  lanes?.host(kind, operations, written);
}

/** Elementwise reading and writing of these arrays. @mutates tally */
export function addStream(tally: Tally, ...arrays: readonly (ArrayBufferView | null)[]): void {
  addWork(tally, "streamBytes", arrays.reduce((sum, array) => sum + (array?.byteLength ?? 0), 0));
}

/** Scratch of one call. @mutates tally */
export function needScratch({ scratch }: Tally, lane: keyof Counts["scratch"], bytes: number): void {
  scratch[lane] = Math.max(scratch[lane], bytes);
}
