// SPDX-License-Identifier: Apache-2.0
/**
 * The orders of work of a device: the model's, and one for the copies of each direction, which run beside it. They and the
 * host meet through events.
 */
import type { Awaitable } from "../core/awaitable.ts";
import * as calls from "./calls.ts";
import { NativeContext } from "./context.ts";
import { Lane } from "./lane.ts";

/** Names of the streams. */
export type StreamName = "model" | "down" | "up";

/** A mark in a stream. */
export type StreamEvent = bigint;

/** Owns the streams for copies, and all events; the model's stream is its owner's. Use with `using`. */
export class DeviceStreams implements Disposable {
  readonly #owned = new DisposableStack();
  readonly #contexts: Readonly<Record<StreamName, NativeContext>>;
  /** Carries the waits of the host: a context takes one call at a time, and those that give work must stay free. */
  readonly #waiter: Lane;
  readonly #made: StreamEvent[] = [];
  readonly #pinned = new Map<ArrayBufferLike, { readonly stream: StreamName; readonly address: bigint }>();

  /** @param model Context of the model's work */
  constructor(model: NativeContext) {
    const copies = (): NativeContext => this.#owned.use(new NativeContext("cuda-copies"));
    this.#contexts = { model, down: copies(), up: copies() };
    this.#waiter = this.#owned.use(new Lane("cuda-copies", true));
  }

  /**
   * Copies between memory of the device and pinned memory, in the order of a stream; it is issued on return. (With memory of
   * the host that is not pinned, it is done on return.)
   *
   * @throws {RangeError} When the sizes differ
   */
  copy(stream: StreamName, to: ArrayBufferView, from: ArrayBufferView): void {
    if (to.byteLength !== from.byteLength) {
      throw new RangeError(`Cannot copy ${from.byteLength} bytes to an array of ${to.byteLength}`);
    }
    calls.copy(this.#contexts[stream], to, from, to.byteLength);
  }

  /** An event that nothing has marked yet. @param timed Whether it takes the time too */
  event(timed = false): StreamEvent {
    const event = new BigInt64Array(1);
    calls.eventCreate(this.#contexts.model, event, Number(timed));
    this.#made.push(event[0] as bigint);
    return event[0] as bigint;
  }

  /** Moves an event to the end of the work that a stream was given so far. */
  record(stream: StreamName, event: StreamEvent): void {
    calls.eventRecord(this.#contexts[stream], event);
  }

  /** Work given to a stream from now on waits for what the event marks now. */
  streamWaits(stream: StreamName, event: StreamEvent): void {
    calls.eventLaneWaits(this.#contexts[stream], event);
  }

  /** Whether the marked work is done. */
  isDone(event: StreamEvent): boolean {
    const done = new Int32Array(1);
    calls.eventQuery(this.#contexts.model, done, event);
    return done[0] === 1;
  }

  /**
   * Comes when the marked work is done. To ask costs a microsecond, to wait on another thread 44: so it is asked first. Where
   * the host is the slower side, what it needs has arrived long before it is needed, and it never waits.
   */
  hostWaits(event: StreamEvent): Awaitable<void> {
    if (this.isDone(event)) return;
    return this.#waiter.run(calls.eventHostWaits, calls.eventHostWaitsAsync, event);
  }

  /** Milliseconds between two timed events whose work is done. */
  elapsedMs(begin: StreamEvent, end: StreamEvent): number {
    const ms = new Float64Array(1);
    calls.eventElapsed(this.#contexts.model, ms, begin, end);
    return ms[0] as number;
  }

  /** Memory of the host that copies reach beside other work. @param stream Whose copies use it; released in its order */
  reservePinned(bytes: number, stream: StreamName = "down"): ArrayBuffer {
    if (bytes === 0) return new ArrayBuffer(0);
    const address = new BigInt64Array(1);
    calls.pinnedReserve(this.#contexts[stream], address, bytes);
    const pointer = Deno.UnsafePointer.create(BigInt.asUintN(64, address[0] as bigint));
    if (pointer === null) throw new Error("The library reserved memory at address 0");
    const buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
    this.#pinned.set(buffer, { stream, address: address[0] as bigint });
    return buffer;
  }

  /** Gives pinned memory back once the copies of its stream are done. */
  releasePinned(buffer: ArrayBufferLike): void {
    const found = this.#pinned.get(buffer);
    if (found === undefined) return;
    this.#pinned.delete(buffer);
    calls.pinnedRelease(this.#contexts[found.stream], found.address);
  }

  /** Gives back everything, after what is under way. */
  [Symbol.dispose](): void {
    const { down, up } = this.#contexts;
    for (const context of [down, up]) calls.synchronize(context);
    for (const buffer of [...this.#pinned.keys()]) this.releasePinned(buffer);
    for (const event of this.#made.splice(0)) calls.eventDestroy(this.#contexts.model, event);
    this.#owned.dispose();
  }
}
