// SPDX-License-Identifier: Apache-2.0
/**
 * A stack of scratch memory: the activations of a step are carved from it and given back together.
 * Blocks are kept for the next step, so that after the first step nothing is allocated any more.
 */
import { account, type Ledger } from "./ledger.ts";

const ALIGNMENT = 64;

/** A place in the stack, to return to. */
export interface ArenaMark {
  readonly block: number;
  readonly used: number;
}

/** Typed arrays an arena hands out. */
export type ArenaArray = Float32Array | Float64Array | Int32Array;

/** A growing list of blocks, used as a stack. */
export class Arena {
  readonly #ledger: Ledger;
  readonly #blockBytes: number;
  #blocks: ArrayBuffer[] = [];
  #block = 0;
  #used = 0;

  /** @param blockBytes Size of a block; a larger request gets a block of its own size. */
  constructor(ledger: Ledger, blockBytes = 1 << 26) {
    this.#ledger = ledger;
    this.#blockBytes = blockBytes;
  }

  /** The present top of the stack. */
  mark(): ArenaMark {
    return { block: this.#block, used: this.#used };
  }

  /** Gives back everything taken since the mark; arrays from there must not be used any more. */
  release(mark: ArenaMark): void {
    this.#block = mark.block;
    this.#used = mark.used;
  }

  /** Bytes of all blocks. */
  get bytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.byteLength, 0);
  }

  /** Uninitialised elements (contents of earlier use), 64-byte aligned within the block. */
  f32(count: number): Float32Array {
    const [buffer, offset] = this.#take(count * 4);
    return new Float32Array(buffer, offset, count);
  }

  /** Uninitialised, like {@linkcode Arena.f32}. */
  f64(count: number): Float64Array {
    const [buffer, offset] = this.#take(count * 8);
    return new Float64Array(buffer, offset, count);
  }

  /** Uninitialised, like {@linkcode Arena.f32}. */
  i32(count: number): Int32Array {
    const [buffer, offset] = this.#take(count * 4);
    return new Int32Array(buffer, offset, count);
  }

  #take(bytes: number): [ArrayBuffer, number] {
    const need = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    for (;; this.#block++, this.#used = 0) {
      if (this.#block === this.#blocks.length) {
        const size = Math.max(need, this.#blockBytes);
        this.#blocks.push(new ArrayBuffer(size));
        account(this.#ledger, "activations", size);
      }
      const block = this.#blocks[this.#block] as ArrayBuffer;
      if (this.#used + need <= block.byteLength) {
        const offset = this.#used;
        this.#used += need;
        return [block, offset];
      }
    }
  }
}
