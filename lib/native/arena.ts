// SPDX-License-Identifier: Apache-2.0
/**
 * Scratch memory, given back in the reverse order of taking: the activations of a step are carved from it. Its blocks
 * are kept for the next step, so that after the first step nothing is allocated any more. Memory that is idle for a part
 * of a step can be lent to it, and is used first.
 */
import { account, type Ledger } from "./ledger.ts";

const ALIGNMENT = 64;

/** How much of every block was in use, to return to. */
export type ArenaMark = readonly Place[];

/** Typed arrays an arena hands out. */
export type ArenaArray = Float32Array | Float64Array | Int32Array;

/** A piece of memory of which the first `used` bytes are taken. */
interface Block {
  readonly buffer: ArrayBufferLike;
  /** Of the block's first byte in the buffer. */
  readonly offset: number;
  readonly bytes: number;
  used: number;
  /** Most that was ever in use: what lies beyond has never been touched, and takes no memory. */
  touched: number;
}

interface Place {
  readonly block: Block;
  readonly used: number;
}

/** Blocks filled side by side: a request goes to the first block with room, so that large ones leave no gaps. */
export class Arena {
  readonly #ledger: Ledger;
  readonly #blockBytes: number;
  #lent: Block[] = [];
  #own: Block[] = [];
  #peakBytes = 0;

  /** @param blockBytes Size of a block; a larger request gets a block of its own size. */
  constructor(ledger: Ledger, blockBytes = 1 << 26) {
    this.#ledger = ledger;
    this.#blockBytes = blockBytes;
  }

  /** What is in use at present. */
  mark(): ArenaMark {
    return [...this.#lent, ...this.#own].map((block) => ({ block, used: block.used }));
  }

  /** Gives back everything taken since the mark; arrays from there must not be used any more. */
  release(mark: ArenaMark): void {
    for (const block of this.#lent) block.used = 0;
    for (const block of this.#own) block.used = 0;
    for (const { block, used } of mark) block.used = used;
  }

  /** Bytes of its own that have been in use at some time: what its blocks take of the machine's memory. */
  get bytes(): number {
    return this.#own.reduce((sum, block) => sum + block.touched, 0);
  }

  /** Bytes in use now, its own and lent ones. */
  get usedBytes(): number {
    return [...this.#lent, ...this.#own].reduce((sum, block) => sum + block.used, 0);
  }

  /** Adds memory whose contents nobody needs until it is taken back. */
  lend({ buffer, byteOffset, byteLength }: ArrayBufferView): void {
    const padding = (ALIGNMENT - byteOffset % ALIGNMENT) % ALIGNMENT;
    if (byteLength <= padding) return;
    this.#lent.push({
      buffer,
      offset: byteOffset + padding,
      bytes: byteLength - padding,
      used: 0,
      touched: Infinity,
    });
  }

  /**
   * Ends the loan of some memory, or of all; that which was not lent is passed over.
   *
   * @throws {Error} When something in it is still in use
   */
  takeBack(memory?: ArrayBufferView): void {
    const returned = (block: Block): boolean =>
      memory === undefined ||
      (block.buffer === memory.buffer && block.offset >= memory.byteOffset &&
        block.offset < memory.byteOffset + memory.byteLength);
    if (this.#lent.some((block) => returned(block) && block.used > 0)) {
      throw new Error(
        "Memory lent to the arena is taken back while it is in use: release what lies there first",
      );
    }
    this.#lent = this.#lent.filter((block) => !returned(block));
  }

  /** Most bytes of its own in use at one time since the last call; `bytes` only ever grows. */
  takePeak(): number {
    const peak = this.#peakBytes;
    this.#peakBytes = 0;
    return peak;
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
    const hasRoom = (block: Block): boolean => block.used + need <= block.bytes;
    const block = this.#lent.find(hasRoom) ?? this.#own.find(hasRoom) ?? this.#grow(need);
    const offset = block.offset + block.used;
    block.used += need;
    if (block.used > block.touched) {
      account(this.#ledger, "activations", block.used - block.touched);
      block.touched = block.used;
    }
    this.#peakBytes = Math.max(this.#peakBytes, this.#own.reduce((sum, { used }) => sum + used, 0));
    return [block.buffer as ArrayBuffer, offset];
  }

  #grow(need: number): Block {
    const bytes = Math.max(need, this.#blockBytes);
    const block = { buffer: new ArrayBuffer(bytes), offset: 0, bytes, used: 0, touched: 0 };
    this.#own.push(block);
    return block;
  }
}
