// SPDX-License-Identifier: Apache-2.0
/** Files mapped read-only: weights are read where they lie, never copied whole. */
import { mapClose, mapOpen, mapRead } from "./calls.ts";
import { smallContext } from "./context.ts";
import { hostArray } from "./host_memory.ts";
import { account, type Ledger } from "./ledger.ts";
import { fromInt64 } from "./scalars.ts";

/**
 * Owns one mapped file. Use with `using`. A weight names it by `handle`; a handle that was closed is an error on use.
 * A file never closed costs address space only, so there is no finalizer that could close it under a weight.
 */
export class MappedFile implements Disposable {
  /** Path it was opened by. */
  readonly path: string;
  /** For weight descriptors; never 0, never reused within the process. */
  readonly handle: bigint;
  /** Size of the file. */
  readonly bytes: number;
  readonly #ledger: Ledger | undefined;
  #open = true;

  /**
   * Maps the whole file.
   *
   * @param ledger Counts the file's bytes as weights until it is disposed
   * @throws {NativeError} When it cannot be opened or mapped, naming the path and the reason
   */
  static open(path: string, ledger?: Ledger): MappedFile {
    if (path.includes("\0")) throw new RangeError(`Cannot open ${JSON.stringify(path)}: a path holds no NUL`);
    const handleAndBytes = new BigInt64Array(2);
    using lane = smallContext();
    mapOpen(lane, handleAndBytes, new TextEncoder().encode(`${path}\0`));
    const [handle = 0n, bytes = 0n] = handleAndBytes;
    return new MappedFile(path, handle, fromInt64("file bytes", bytes), ledger);
  }

  private constructor(path: string, handle: bigint, bytes: number, ledger: Ledger | undefined) {
    this.path = path;
    this.handle = handle;
    this.bytes = bytes;
    this.#ledger = ledger;
    if (ledger !== undefined) account(ledger, "weights", bytes);
  }

  /**
   * Copies `count` bytes from `offset`.
   *
   * @throws {NativeError} When the range leaves the file, or the file was disposed
   */
  read(offset: number, count: number): Uint8Array<ArrayBuffer> {
    const out = hostArray<Uint8Array<ArrayBuffer>>(Uint8Array, count, this.path);
    using lane = smallContext();
    mapRead(lane, out, this.handle, offset, count);
    return out;
  }

  /** Unmaps the file. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    using lane = smallContext();
    mapClose(lane, this.handle);
    if (this.#ledger !== undefined) account(this.#ledger, "weights", -this.bytes);
  }
}
