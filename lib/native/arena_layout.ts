// SPDX-License-Identifier: Apache-2.0
/**
 * Where an arena puts things: the arithmetic, for memory of the host, of a device, or none at all where a run's need is counted.
 *
 * Blocks are filled side by side: a request goes to the first block with room, lent ones first, so that large requests
 * leave no gaps behind.
 */

const ALIGNMENT = 64;

/**
 * Of one block. Large, because what is left at the end of a block is lost to large requests (20 MiB of a step with 512 MiB
 * of activations, in blocks of 64 MiB), and what was never in use costs nothing.
 */
export const BLOCK_BYTES = 1 << 28;

/** A piece of memory of which the first `used` bytes are taken. */
export interface ArenaBlock<Memory> {
  readonly memory: Memory;
  /** Of the block's first byte in the memory. */
  readonly offset: number;
  readonly bytes: number;
  used: number;
  /** Most that was ever in use: what lies beyond was never touched, and takes nothing of the machine's memory. */
  touched: number;
}

/** How much of every block was in use, to return to. */
export type ArenaMark = readonly { readonly block: ArenaBlock<unknown>; readonly used: number }[];

/** The blocks of an arena and how full they are. */
export class ArenaLayout<Memory> {
  readonly #blockBytes: number;
  readonly #create: (bytes: number) => Memory;
  readonly #onTouch: (bytes: number) => void;
  #lent: ArenaBlock<Memory>[] = [];
  #own: ArenaBlock<Memory>[] = [];
  #peakBytes = 0;

  /**
   * @param create Makes the memory of a block
   * @param options `blockBytes`: size of a block, {@linkcode BLOCK_BYTES} unless given; a larger request gets a block of its own size.
   *   `onTouch`: called with the bytes that were never in use before
   */
  constructor(
    create: (bytes: number) => Memory,
    options: { readonly blockBytes?: number; readonly onTouch?: (bytes: number) => void } = {},
  ) {
    this.#create = create;
    this.#blockBytes = options.blockBytes ?? BLOCK_BYTES;
    this.#onTouch = options.onTouch ?? (() => {});
  }

  /** Size of a block, unless a request is larger. */
  get blockBytes(): number {
    return this.#blockBytes;
  }

  /** What is in use at present. */
  mark(): ArenaMark {
    return [...this.#lent, ...this.#own].map((block) => ({ block, used: block.used }));
  }

  /** Gives back everything taken since the mark. */
  release(mark: ArenaMark): void {
    for (const block of this.#lent) block.used = 0;
    for (const block of this.#own) block.used = 0;
    for (const { block, used } of mark) block.used = used;
  }

  /** Bytes of blocks of its own that were in use at some time. */
  get touchedBytes(): number {
    return this.#own.reduce((sum, block) => sum + block.touched, 0);
  }

  /** Bytes in use now, in its own and in lent blocks. */
  get usedBytes(): number {
    return [...this.#lent, ...this.#own].reduce((sum, block) => sum + block.used, 0);
  }

  /** Most bytes in use at one time in its own blocks since the last call. */
  takePeak(): number {
    const peak = this.#peakBytes;
    this.#peakBytes = 0;
    return peak;
  }

  /** Adds a block of `bytes` from `offset` of a memory, less what alignment takes. */
  lend(memory: Memory, offset: number, bytes: number): void {
    const padding = (ALIGNMENT - offset % ALIGNMENT) % ALIGNMENT;
    if (bytes <= padding) return;
    const place = { offset: offset + padding, bytes: bytes - padding };
    this.#lent.push({ memory, ...place, used: 0, touched: Infinity });
  }

  /**
   * Ends the loans that `ended` names.
   *
   * @throws {Error} When something in one of them is still in use
   */
  takeBack(ended: (block: ArenaBlock<Memory>) => boolean): void {
    if (this.#lent.some((block) => block.used > 0 && ended(block))) {
      throw new Error(
        "Memory lent to the arena is taken back while it is in use: release what lies there first",
      );
    }
    this.#lent = this.#lent.filter((block) => !ended(block));
  }

  /** Gives up blocks of its own in which nothing is in use; @returns their memory. */
  drop(): Memory[] {
    const idle = this.#own.filter(({ used }) => used === 0);
    this.#own = this.#own.filter(({ used }) => used > 0);
    for (const { touched } of idle) this.#onTouch(-touched);
    return idle.map(({ memory }) => memory);
  }

  /** Takes `bytes`, aligned within the block. */
  take(bytes: number): { readonly memory: Memory; readonly offset: number } {
    const need = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const hasRoom = (block: ArenaBlock<Memory>): boolean => block.used + need <= block.bytes;
    const block = this.#lent.find(hasRoom) ?? this.#own.find(hasRoom) ?? this.#grow(need);
    const offset = block.offset + block.used;
    block.used += need;
    if (block.used > block.touched) {
      this.#onTouch(block.used - block.touched);
      block.touched = block.used;
    }
    this.#peakBytes = Math.max(this.#peakBytes, this.#own.reduce((sum, { used }) => sum + used, 0));
    return { memory: block.memory, offset };
  }

  #grow(need: number): ArenaBlock<Memory> {
    const bytes = Math.max(need, this.#blockBytes);
    const block = { memory: this.#create(bytes), offset: 0, bytes, used: 0, touched: 0 };
    this.#own.push(block);
    return block;
  }
}
