// SPDX-License-Identifier: Apache-2.0
/** Results that are there now, or come later from a lane that works beside the caller. */

/** A result now, or from a lane that works beside the caller, later. */
export type Awaitable<T> = T | Promise<T>;

/** Several results: now if all are there, else when the last one comes. */
export function allOf<T>(results: readonly Awaitable<T>[]): Awaitable<readonly T[]> {
  const late = results.some((result) => result instanceof Promise);
  return late ? Promise.all(results) : results as readonly T[];
}

/** Goes on with a result now if it is there, else when it comes: synchronous work stays synchronous. */
export function andThen<T, U>(result: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return result instanceof Promise ? result.then(next) : next(result);
}
