// SPDX-License-Identifier: Apache-2.0
/**
 * A lane: one context, one call in flight. A blocking lane works inside the caller; a nonblocking lane works beside it,
 * call after call in the order asked. Overlap is two lanes.
 */
import { type ContextOptions, type DeviceContext, NativeContext } from "./context.ts";

/** Owns a context and the order of its calls. Use with `using`. */
export class Lane implements Disposable {
  /** The lane's context. */
  readonly context: NativeContext;
  /** Whether calls return promises. */
  readonly nonblocking: boolean;
  #last: Promise<unknown> = Promise.resolve();

  /** @param nonblocking Runs calls on another thread; worth it for calls of over a millisecond (starting one costs 40 us) */
  constructor(options: ContextOptions | DeviceContext = {}, nonblocking = false) {
    this.context = new NativeContext(options);
    this.nonblocking = nonblocking;
  }

  /**
   * Makes one call, by the form that fits the lane: `lane.run(sparseRoute, sparseRouteAsync, ...arguments)`.
   *
   * @returns Nothing once it is done, or a promise of that
   * @throws {NativeError} When the call fails (a rejection on a nonblocking lane)
   */
  run<Arguments extends unknown[]>(
    blocking: (context: NativeContext, ...passed: Arguments) => void,
    nonblocking: (context: NativeContext, ...passed: Arguments) => Promise<void>,
    ...passed: Arguments
  ): void | Promise<void> {
    if (!this.nonblocking) return blocking(this.context, ...passed);
    const turn = this.#last.then(() => nonblocking(this.context, ...passed));
    this.#last = turn.catch(() => {}); // the failure belongs to whoever awaits this call, not the next one
    return turn;
  }

  /** Frees the context; a call in flight still settles, calls waiting for their turn fail. */
  [Symbol.dispose](): void {
    this.context[Symbol.dispose]();
  }
}
