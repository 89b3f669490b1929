// SPDX-License-Identifier: Apache-2.0
/** What kernels were asked for, added up. */

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

/** All that is counted. */
export interface Counts {
  readonly work: Readonly<Record<Worker, Work>>;
  /** Most bytes of scratch that one call takes, of the model's lane and of the host lane. */
  readonly scratch: { model: number; host: number };
}

/** Where the work of one worker is put down. */
export interface Tally extends Pick<Counts, "scratch"> {
  readonly work: Work;
}

/** Nothing yet. */
export function createCounts(): Counts {
  const work = (): Work => ({ forward: 0, backward: 0, attention: 0, streamBytes: 0 });
  return { work: { model: work(), adapter: work() }, scratch: { model: 0, host: 0 } };
}

/** The tally of a worker. */
export function tallyOf({ work, scratch }: Counts, worker: Worker): Tally {
  return { work: work[worker], scratch };
}

/** @mutates tally */
export function addWork({ work }: Tally, kind: keyof Work, amount: number): void {
  work[kind] += amount;
}

/** Elementwise reading and writing of these arrays. @mutates tally */
export function addStream(tally: Tally, ...arrays: readonly (ArrayBufferView | null)[]): void {
  addWork(tally, "streamBytes", arrays.reduce((sum, array) => sum + (array?.byteLength ?? 0), 0));
}

/** Scratch of one call. @mutates tally */
export function needScratch({ scratch }: Tally, lane: keyof Counts["scratch"], bytes: number): void {
  scratch[lane] = Math.max(scratch[lane], bytes);
}
