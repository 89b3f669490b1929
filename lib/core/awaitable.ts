// SPDX-License-Identifier: Apache-2.0
/** Results that are there now, or come later from a lane that works beside the caller. */

/** A result now, or from a lane that works beside the caller, later. */
export type Awaitable<T> = T | Promise<T>;

/** Goes on with a result now if it is there, else when it comes: synchronous work stays synchronous. */
export function andThen<T, U>(result: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return result instanceof Promise ? result.then(next) : next(result);
}
