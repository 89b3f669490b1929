// SPDX-License-Identifier: Apache-2.0
/**
 * What a step remembers, by depth, length and rows: stored, computed again, or undone, beside PyTorch's full fine-tuning with
 * and without checkpoints; all of it counted. And what it costs: steps in turn, in processes of their own.
 */
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { hasPeers } from "../part_rounds.ts";
import { type ActivationBytes, countActivations } from "./counted.ts";
import { COUNTED_METHODS } from "./methods.ts";
import { peerActivations } from "./peer.ts";
import { allSeries, formatShape, type Shape, TIMED_SHAPE } from "./shapes.ts";
import { type TimedOptions, type TimedStep, timeSteps } from "./timed.ts";

/** One shape, remembered in one way. */
export interface ActivationCell extends ActivationBytes {
  /** See `CountedStep`; absent of the peer. */
  readonly products?: number;
  readonly series: string;
  readonly shape: Shape;
  readonly way: string;
}

/** Choices of {@linkcode benchActivations}. */
export interface ActivationOptions extends TimedOptions {
  /** Two depths alone. */
  readonly quick: boolean;
}

/** All that was found. */
export interface ActivationBench {
  readonly cells: readonly ActivationCell[];
  readonly steps: readonly TimedStep[];
}

/** Counts, and times. */
export async function benchActivations(options: ActivationOptions): Promise<ActivationBench> {
  using kernels = nativeKernels({ threads: options.threads, compute: "f32" });
  const all = allSeries(options.quick).flatMap(({ name: series, shapes }) =>
    shapes.map((shape) => ({ series, shape }))
  );
  const peers = hasPeers() ? await peerActivations(all.map(({ shape }) => shape), options.folder) : [];
  const cells: ActivationCell[] = [];
  for (const [i, { series, shape }] of all.entries()) {
    for (const method of COUNTED_METHODS) {
      cells.push({ series, shape, way: method.label, ...await countActivations(kernels, shape, method) });
    }
    const peer = peers[i];
    if (peer) {
      cells.push({ series, shape, way: PEER, ...peer.stored });
      cells.push({ series, shape, way: PEER_CHECKPOINTED, ...peer.checkpointed });
    }
    options.onProgress(formatShape(shape));
  }
  return { cells, steps: await timeSteps(kernels, TIMED_SHAPE, options) };
}

/** Full fine-tuning there. */
export const PEER = "PyTorch";
/** The same with its layers computed again. */
export const PEER_CHECKPOINTED = `${PEER}, checkpointed`;

/** How much less than PyTorch's full fine-tuning a step that undoes its layers holds at most. */
export function savings(cells: readonly ActivationCell[]): { shape: Shape; way: string; saved: number }[] {
  return cells.filter(({ way }) => way.startsWith("meft")).flatMap(({ shape, way, peak }) => {
    const torch = cells.find((other) => other.shape === shape && other.way === PEER);
    return torch ? [{ shape, way, saved: 1 - peak / torch.peak }] : [];
  });
}
