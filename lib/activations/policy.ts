// SPDX-License-Identifier: Apache-2.0
/** What backward remembers. A policy runs a list of steps and decides which residuals live; all give the same gradients. */
import type { Awaitable } from "../core/awaitable.ts";
import type { ArenaMark } from "../native/arena_layout.ts";
import { arenaTensor } from "../ops/arena_tensor.ts";
import { arenaFixed } from "../ops/coupling.ts";
import type { Place } from "../ops/kernels/place.ts";
import type { FixedTensor, Tensor } from "../tensor/tensor.ts";

/** A second forward of something on the same input. */
export interface Again<Residuals> {
  /**
   * What the first one returned, of which the part in host memory lives on: that part is used and not made again. What
   * was chosen is there, so that an input that was rebuilt, and is off by a rounding, chooses nothing else.
   */
  readonly first: Residuals;
  /** Whether the output is wanted once more; else it is left incomplete. */
  readonly needsOutput: boolean;
  /** (T,D) where the first one's last product landed, as it was: then that product is left out, and the output is whole. */
  readonly landing?: Tensor | undefined;
}

/** A function (T,D) to (T,D): what a step is made of. Residuals and temporaries lie in the arena. */
export interface Stage<Residuals> {
  /**
   * @param x (T,D) read     @param y (T,D) written
   * @param landing (T,D) written: what the last product gives, with what is added to it before the next norm; y where there is
   *   no such norm. What an {@linkcode Again} is given
   * @mutates y, landing
   */
  forward(x: Tensor, y: Tensor, again?: Again<Residuals>, landing?: Tensor): Promise<Residuals>;
  /** @param dx (T,D) holds dy, and dx afterwards. @mutates dx; residuals are spent */
  backward(residuals: Residuals, dx: Tensor): Promise<void>;
}

/** A residual stream: floats, or fixed point where a step is to be undone to the bit. */
export type Stream = Tensor | FixedTensor;

/** Residual streams, (T,D) each: one of a plain model, two of a coupled one. */
export type Streams = readonly Stream[];

/** The gradients of streams. */
export type StreamGradients = readonly Tensor[];

/** What of a stream is kept beside the output: the bits that forward drops, or all of it. Null where it drops none. */
export type KeptOfStream = Int32Array | Stream | null;

/** How a step that is undone is kept. */
export interface Keeping {
  /**
   * `least`: what y lacks of x. `anchor`: what makes undoing shorter too, or holds what would drift. `whole`: all that
   * backward needs of the step's larger function, as it is.
   */
  readonly how: "least" | "anchor" | "whole";
  /** Whether x is to be told again; else backward only passes through. */
  readonly needsInput: boolean;
}

/** What forward keeps of a step that is undone, in the arena. */
export interface Kept extends Keeping {
  readonly streams: readonly KeptOfStream[];
  /** (T,D) of the larger function: the landing of an anchor, the output of what is kept whole. Null where it is made again. */
  readonly larger: Tensor | null;
}

/** How a step is undone. */
export interface Undoing<Residuals> {
  /** Takes what forward is to keep of x. */
  keep(x: Streams, keeping: Keeping): Kept;
  /**
   * Backward of a step of which nothing lives but its output and what was kept: what it needs is made again on the way down.
   *
   * @param y Holds the output, and the input afterwards, where that is needed     @param dx Holds dy, and dx afterwards
   * @param first What forward returned, of which the part in the host arena lives on; all of it where it is kept whole
   * @mutates y, dx; `first` is spent
   */
  backward(y: Streams, dx: StreamGradients, first: Residuals, kept: Kept): Promise<void>;
}

/** One step of a stack, from streams to as many of the same shapes. Residuals and temporaries lie in the arena. */
export interface Step<Residuals> {
  /** Whether backward has anything to do here. Once false for a step, it is false for all steps below. */
  readonly needsBackward: boolean;
  /**
   * @param x Read     @param y Written; may be x where the step can be undone and `kept` is given
   * @param first What an earlier run on the same x returned, of which the part in the host arena lives on: that part is
   *   used and not made again, and y, which nobody needs a second time, is left incomplete
   * @param kept Where what y lacks of x is kept; absent where x itself is
   * @mutates y, kept
   */
  forward(x: Streams, y: Streams, first?: Residuals, kept?: Kept): Promise<Residuals>;
  /** @param dx Holds dy, and dx afterwards. @mutates dx; residuals are spent */
  backward(residuals: Residuals, dx: StreamGradients): Promise<void>;
  /** Absent where y does not tell x. */
  readonly undo?: Undoing<Residuals>;
}

/** One pass forward, a turn, and back. */
export interface Pass<Residuals> {
  readonly steps: readonly Step<Residuals>[];
  /** Input of the first step. */
  readonly x: Streams;
  /** Gradient: of the last output after the turn, of x (when it was needed) at the end. */
  readonly dx: StreamGradients;
  /** Takes the output y of the last step; when steps need backward, it writes dy into dx. */
  readonly turn: (y: Streams) => Awaitable<void>;
  /** Whether the turn takes less memory than backward of a step: then what the last step keeps may outlive it. Default: no. */
  readonly isTurnLight?: boolean | undefined;
  /** Where activations may lie for a while; absent when there is no such memory. */
  readonly idle?: IdleMemory | undefined;
  /** How much of a pass is undone; all of it, from its last output alone, when absent. */
  readonly undoing?: UndoingChoice | undefined;
}

/** How a policy undoes steps. */
export interface UndoingChoice {
  /** Steps that are undone, from the lowest up; those above keep their residuals. Default: all. */
  readonly steps?: number | undefined;
  /** Every which of them is kept as an anchor. Default: as many in all as cost what backward of one step takes. */
  readonly anchorEvery?: number | undefined;
}

/** Memory that nobody needs for a part of a pass, by step of the model. */
export interface IdleMemory {
  /** What is idle until backward reaches this step: gradients that are about to be computed afresh. */
  untilBackward(step: number): readonly ArrayBufferView[];
  /** Backward of this step is about to begin: its idle memory is its owner's again, with any contents. */
  beforeBackward(step: number): void;
}

/** How backward gets what it needs of forward. */
export interface ActivationPolicy {
  /** Whether a step that backward reaches runs forward a second time: its activations do not last until the turn. */
  readonly reruns: boolean;
  /** Whether it undoes steps: then it runs those alone that can be undone. */
  readonly undoes: boolean;
  /** Runs a pass. Everything it took from the arena is given back. @mutates pass.dx */
  run<Residuals>(k: Place, pass: Pass<Residuals>): Promise<void>;
}

/** Streams of the shapes of others, in the arena. */
export function streamsLike(k: Place, others: Streams): Streams {
  return others.map((stream) =>
    "fraction" in stream ? arenaFixed(k, stream.shape, stream.fraction) : arenaTensor(k, stream.shape)
  );
}

/** Runs steps without keeping anything; @returns the last output, in the arena. */
export async function forwardOnly<Residuals>(
  k: Place,
  steps: readonly Step<Residuals>[],
  x: Streams,
): Promise<Streams> {
  if (steps.length === 0) return x;
  // Two outputs in turn: a step reads one and writes the other.
  const outputs = [streamsLike(k, x), streamsLike(k, x)] as const;
  for (const [i, step] of steps.entries()) {
    const y = outputs[i % 2 as 0 | 1];
    const mark = markBoth(k);
    await step.forward(x, y);
    releaseBoth(k, mark);
    x = y;
  }
  return x;
}

/** Places in the arena and in the host arena. */
export interface BothMarks {
  readonly arena: ArenaMark;
  readonly host: ArenaMark;
}

/** What is in use at present. */
export function markBoth(k: Place): BothMarks {
  return { arena: k.arena.mark(), host: k.hostArena.mark() };
}

/** Gives back everything taken since. */
export function releaseBoth(k: Place, mark: BothMarks): void {
  k.arena.release(mark.arena);
  k.hostArena.release(mark.host);
}

/** Steps that backward never reaches, and the rest. */
export function splitFrozen<Residuals>(
  steps: readonly Step<Residuals>[],
): { frozen: readonly Step<Residuals>[]; trained: readonly Step<Residuals>[] } {
  const first = steps.findIndex((step) => step.needsBackward);
  const count = first < 0 ? steps.length : first;
  return { frozen: steps.slice(0, count), trained: steps.slice(count) };
}

/** The loans of one pass: what is idle in the steps below holds the activations of those above. */
export interface Loans {
  /** Before forward of a step. */
  beforeForward(step: number): void;
  /** Before backward of a step, when all steps above have given back their activations. */
  beforeBackward(step: number): void;
}

/**
 * Lends a step's idle memory to the arena while forward and backward are above that step.
 *
 * @param first Lowest step that backward reaches
 */
export function idleLoans({ arena }: Place, idle: IdleMemory | undefined, first: number): Loans {
  if (idle === undefined) return { beforeForward: () => {}, beforeBackward: () => {} };
  return {
    beforeForward(step) {
      if (step > first) idle.untilBackward(step - 1).forEach((memory) => arena.lend(memory));
    },
    beforeBackward(step) {
      idle.untilBackward(step).forEach((memory) => arena.takeBack(memory));
      idle.beforeBackward(step);
    },
  };
}

/** Runs something and gives back what it took from the arenas, and what it lent to the arena, also when it fails. */
export async function releasing<T>(k: Place, run: () => Promise<T>): Promise<T> {
  const mark = markBoth(k);
  try {
    return await run();
  } catch (error) {
    // Copies under way still read and write what is given back here. A device that cannot end them says so once more.
    await Promise.resolve(k.link.reset()).catch(() => {});
    throw error;
  } finally {
    releaseBoth(k, mark);
    k.arena.takeBackSince(mark.arena);
  }
}
