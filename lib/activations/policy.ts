// SPDX-License-Identifier: Apache-2.0
/** What backward remembers. A policy runs a list of blocks and decides which residuals live; all give the same gradients. */
import type { ArenaMark } from "../native/arena_layout.ts";
import { arenaTensor } from "../ops/arena_tensor.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** One step of a stack of blocks, (T,D) to (T,D). Residuals and temporaries lie in the arena. */
export interface Block<Residuals> {
  /** Whether backward has anything to do here. Once false for a block, it is false for all blocks below. */
  readonly needsBackward: boolean;
  /**
   * @param x (T,D) read     @param y (T,D) written
   * @param first What an earlier run on the same x returned, of which the part in the host arena lives on: that part is
   *   used and not made again, and y, which nobody needs a second time, is left incomplete
   * @mutates y
   */
  forward(x: Tensor, y: Tensor, first?: Residuals): Promise<Residuals>;
  /** @param dx (T,D) holds dy, and dx afterwards. @mutates dx; residuals are spent */
  backward(residuals: Residuals, dx: Tensor): Promise<void>;
}

/** One pass forward, a turn, and back. */
export interface Pass<Residuals> {
  readonly blocks: readonly Block<Residuals>[];
  /** (T,D) input of the first block. */
  readonly x: Tensor;
  /** (T,D) gradient: of the last output after the turn, of x (when it was needed) at the end. */
  readonly dx: Tensor;
  /** Takes the output y (T,D) of the last block; when blocks need backward, it writes dy into dx. */
  readonly turn: (y: Tensor) => void | Promise<void>;
  /** Where activations may lie for a while; absent when there is no such memory. */
  readonly idle?: IdleMemory | undefined;
}

/** Memory that nobody needs for a part of a pass, by block of the model. */
export interface IdleMemory {
  /** What is idle until backward reaches this block: gradients that are about to be computed afresh. */
  untilBackward(block: number): readonly ArrayBufferView[];
  /** Backward of this block is about to begin: its idle memory is its owner's again, with any contents. */
  beforeBackward(block: number): void;
}

/** Runs a pass. Everything it took from the arena is given back. @mutates pass.dx */
export type ActivationPolicy = <Residuals>(k: Kernels, pass: Pass<Residuals>) => Promise<void>;

/** Runs blocks without keeping anything; @returns the last output (T,D), in the arena. */
export async function forwardOnly<Residuals>(
  k: Kernels,
  blocks: readonly Block<Residuals>[],
  x: Tensor,
): Promise<Tensor> {
  if (blocks.length === 0) return x;
  // Two buffers in turn: a block reads one and writes the other.
  const outputs = [arenaTensor(k, x.shape), arenaTensor(k, x.shape)] as const;
  for (const [i, block] of blocks.entries()) {
    const y = outputs[i % 2 as 0 | 1];
    const mark = markBoth(k);
    await block.forward(x, y);
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
export function markBoth(k: Kernels): BothMarks {
  return { arena: k.arena.mark(), host: k.hostArena.mark() };
}

/** Gives back everything taken since. */
export function releaseBoth(k: Kernels, mark: BothMarks): void {
  k.arena.release(mark.arena);
  k.hostArena.release(mark.host);
}

/** Blocks that backward never reaches, and the rest. */
export function splitFrozen<Residuals>(
  blocks: readonly Block<Residuals>[],
): { frozen: readonly Block<Residuals>[]; trained: readonly Block<Residuals>[] } {
  const first = blocks.findIndex((block) => block.needsBackward);
  const count = first < 0 ? blocks.length : first;
  return { frozen: blocks.slice(0, count), trained: blocks.slice(count) };
}

/** The loans of one pass: what is idle in the blocks below lodges the activations of those above. */
export interface Loans {
  /** Before forward of a block. */
  beforeForward(block: number): void;
  /** Before backward of a block, when all blocks above have given back their activations. */
  beforeBackward(block: number): void;
}

/**
 * Lends a block's idle memory to the arena while forward and backward are above that block.
 *
 * @param first Lowest block that backward reaches
 */
export function idleLoans({ arena }: Kernels, idle: IdleMemory | undefined, first: number): Loans {
  if (idle === undefined) return { beforeForward: () => {}, beforeBackward: () => {} };
  return {
    beforeForward(block) {
      if (block > first) idle.untilBackward(block - 1).forEach((memory) => arena.lend(memory));
    },
    beforeBackward(block) {
      idle.untilBackward(block).forEach((memory) => arena.takeBack(memory));
      idle.beforeBackward(block);
    },
  };
}

/** Runs something and gives back what it took from the arenas, and what was lent to the arena, also when it fails. */
export async function releasing<T>(k: Kernels, run: () => Promise<T>): Promise<T> {
  const mark = markBoth(k);
  try {
    return await run();
  } catch (error) {
    // Copies under way still read and write what is given back here. A device that cannot end them says so once more.
    await Promise.resolve(k.link.reset()).catch(() => {});
    throw error;
  } finally {
    releaseBoth(k, mark);
    k.arena.takeBack();
  }
}
