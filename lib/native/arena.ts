// SPDX-License-Identifier: Apache-2.0
/**
 * Scratch memory, given back in the reverse order of taking: the activations of a step are carved from it. Its blocks
 * are kept for the next step, so that after the first step nothing is allocated any more. Memory that is idle for a part
 * of a step can be lent to it, and is used first.
 */
import { ArenaLayout, type ArenaMark, BLOCK_BYTES } from "./arena_layout.ts";
import { hostArray } from "./host_memory.ts";
import { account, type Ledger } from "./ledger.ts";

/** Makes a view of memory: a typed array's constructor, or that of something that passes for one. */
type Views<A> = new (memory: ArrayBuffer, byteOffset: number, length: number) => A;

/** Views by type of their elements. */
export interface ArenaViews {
  readonly f32: Views<Float32Array>;
  readonly f64: Views<Float64Array>;
  readonly bf16: Views<Uint16Array>;
  readonly i32: Views<Int32Array>;
}

const TYPED_ARRAYS: ArenaViews = {
  f32: Float32Array,
  f64: Float64Array,
  bf16: Uint16Array,
  i32: Int32Array,
};

/** Typed arrays in a growing list of blocks. */
export class Arena {
  readonly #layout: ArenaLayout<ArrayBufferLike>;
  readonly #views: ArenaViews;

  /**
   * @param blockBytes Size of a block; a larger request gets a block of its own size
   * @param create Makes the memory of a block: the host's unless given
   * @param views What is handed out: typed arrays unless given
   */
  constructor(
    ledger: Ledger,
    blockBytes = BLOCK_BYTES,
    create: (bytes: number) => ArrayBufferLike = (bytes) =>
      hostArray(Uint8Array, bytes, "activations").buffer,
    views: ArenaViews = TYPED_ARRAYS,
  ) {
    this.#views = views;
    this.#layout = new ArenaLayout<ArrayBufferLike>(create, {
      blockBytes,
      onTouch: (bytes) => account(ledger, "activations", bytes),
    });
  }

  /** What is in use at present. */
  mark(): ArenaMark {
    return this.#layout.mark();
  }

  /** Gives back everything taken since the mark; arrays from there must not be used any more. */
  release(mark: ArenaMark): void {
    this.#layout.release(mark);
  }

  /** Bytes of its own that have been in use at some time: what its blocks take of the machine's memory. */
  get bytes(): number {
    return this.#layout.touchedBytes;
  }

  /** Bytes in use now, its own and lent ones. */
  get usedBytes(): number {
    return this.#layout.usedBytes;
  }

  /** Adds memory whose contents nobody needs until it is taken back. */
  lend({ buffer, byteOffset, byteLength }: ArrayBufferView): void {
    this.#layout.lend(buffer, byteOffset, byteLength);
  }

  /**
   * Ends the loan of some memory, or of all; that which was not lent is passed over.
   *
   * @throws {Error} When something in it is still in use
   */
  takeBack(lent?: ArrayBufferView): void {
    this.#layout.takeBack(({ memory, offset }) =>
      lent === undefined ||
      (memory === lent.buffer && offset >= lent.byteOffset && offset < lent.byteOffset + lent.byteLength)
    );
  }

  /** Ends all loans since the mark. @throws {Error} When something in one of them is still in use */
  takeBackSince(mark: ArenaMark): void {
    const earlier = new Set(mark.map(({ block }) => block));
    this.#layout.takeBack((block) => !earlier.has(block));
  }

  /** Gives up its blocks in which nothing is in use; @returns their memory, for whoever made it. */
  drop(): ArrayBufferLike[] {
    return this.#layout.drop();
  }

  /** Size of a block, unless a request is larger. */
  get blockBytes(): number {
    return this.#layout.blockBytes;
  }

  /** Most bytes of its own in use at one time since the last call; `bytes` only ever grows. */
  takePeak(): number {
    return this.#layout.takePeak();
  }

  /** Uninitialised elements (contents of earlier use), 64-byte aligned within the block. */
  f32(count: number): Float32Array {
    const { memory, offset } = this.#layout.take(count * 4);
    return new this.#views.f32(memory as ArrayBuffer, offset, count);
  }

  /** Uninitialised, like {@linkcode Arena.f32}. */
  f64(count: number): Float64Array {
    const { memory, offset } = this.#layout.take(count * 8);
    return new this.#views.f64(memory as ArrayBuffer, offset, count);
  }

  /** Uninitialised, like {@linkcode Arena.f32}: bits of bf16. */
  bf16(count: number): Uint16Array {
    const { memory, offset } = this.#layout.take(count * 2);
    return new this.#views.bf16(memory as ArrayBuffer, offset, count);
  }

  /** Uninitialised, like {@linkcode Arena.f32}. */
  i32(count: number): Int32Array {
    const { memory, offset } = this.#layout.take(count * 4);
    return new this.#views.i32(memory as ArrayBuffer, offset, count);
  }
}
