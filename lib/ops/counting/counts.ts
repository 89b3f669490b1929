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
  /** Who is at work now. */
  worker: Worker;
  /** Most bytes of scratch that one call takes, of the model's lane and of the host lane. */
  readonly scratch: { model: number; host: number };
}

/** Nothing yet. */
export function createCounts(): Counts {
  const work = (): Work => ({ forward: 0, backward: 0, attention: 0, streamBytes: 0 });
  return {
    work: { model: work(), adapter: work() },
    worker: "model",
    scratch: { model: 0, host: 0 },
  };
}

/** Work of whoever is at work. @mutates counts */
export function addWork(counts: Counts, kind: keyof Work, amount: number): void {
  counts.work[counts.worker][kind] += amount;
}

/** Elementwise reading and writing of these arrays. @mutates counts */
export function addStream(counts: Counts, ...arrays: readonly (ArrayBufferView | null)[]): void {
  addWork(counts, "streamBytes", arrays.reduce((sum, array) => sum + (array?.byteLength ?? 0), 0));
}

/** Scratch of one call. @mutates counts */
export function needScratch({ scratch }: Counts, lane: keyof Counts["scratch"], bytes: number): void {
  scratch[lane] = Math.max(scratch[lane], bytes);
}
