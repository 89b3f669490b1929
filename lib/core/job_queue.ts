// SPDX-License-Identifier: Apache-2.0
/**
 * The jobs of one lane, run one after the other in the order they were given, however long each takes: so what they add
 * to is always added to in the same order.
 */
import type { Awaitable } from "./awaitable.ts";

/** Jobs of one lane. */
export interface JobQueue {
  /**
   * Runs a job when all earlier ones have ended: inside the caller when nothing is under way. A job that fails rejects for
   * whoever gave it, and the next one runs.
   */
  run<T>(job: () => Awaitable<T>): Awaitable<T>;
  /** Runs a job when no other is waiting: for work that nobody waits for. Such jobs keep their order among themselves. */
  runLater<T>(job: () => Awaitable<T>): Awaitable<T>;
  /** Jobs under way or waiting. */
  readonly pending: number;
}

/** Starts a job and settles what its caller was given. */
type Start = () => Promise<unknown>;

/** An empty queue. */
export function createJobQueue(): JobQueue {
  const [first, later]: [Start[], Start[]] = [[], []];
  let pending = 0;
  const advance = (): void => {
    const next = first.shift() ?? later.shift();
    if (next) void next().then(advance);
  };
  const inside = <T>(job: () => Awaitable<T>): Awaitable<T> => {
    pending++;
    let result: Awaitable<T>;
    try {
      result = job();
    } catch (error) {
      pending--;
      throw error;
    }
    if (!(result instanceof Promise)) {
      pending--;
      return result;
    }
    // Who waits gets the result before the next job is started, so that what it does next comes first. A promise made of
    // the result (by finally) would settle later than that.
    const ended = (): void => {
      pending--;
      queueMicrotask(advance);
    };
    result.then(ended, ended);
    return result;
  };
  const enqueue = <T>(waiting: Start[], job: () => Awaitable<T>): Awaitable<T> => {
    if (pending === 0) return inside(job);
    return new Promise<T>((resolve, reject) => {
      pending++;
      waiting.push(async () => {
        try {
          resolve(await job());
        } catch (error) {
          reject(error);
        } finally {
          pending--;
        }
      });
    });
  };
  return {
    run: (job) => enqueue(first, job),
    runLater: (job) => enqueue(later, job),
    get pending() {
      return pending;
    },
  };
}
