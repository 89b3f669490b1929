// SPDX-License-Identifier: Apache-2.0
/**
 * Two chains of asynchronous work that take strict turns: of the two, one runs at a time, and the order in which their
 * pieces run is fixed, however long anything takes.
 */

/** Gives the turn to the other chain; comes when it is one's own again, at once when the other has ended. */
export type YieldTurn = () => Promise<void>;

/** Why a chain was ended whose partner failed. */
class Abandoned extends Error {
  override readonly name = "Abandoned";
}

/** Wakes a waiting chain, or ends it. */
interface Waiting {
  readonly resume: () => void;
  readonly abandon: (reason: Error) => void;
}

/**
 * Runs two chains in turns; the first begins. Both have ended when the result comes, also when one fails.
 *
 * @throws What the chain threw that failed first
 */
export async function takeTurns<A, B>(
  first: (yieldTurn: YieldTurn) => Promise<A>,
  second: (yieldTurn: YieldTurn) => Promise<B>,
): Promise<[A, B]> {
  const waiting: [Waiting | null, Waiting | null] = [null, null];
  const ended = [false, false];
  let failed = false;
  const wake = (chain: 0 | 1): void => {
    const other = waiting[chain];
    waiting[chain] = null;
    if (failed) other?.abandon(new Abandoned("The other part of the micro-batch failed"));
    else other?.resume();
  };
  const wait = (chain: 0 | 1): Promise<void> =>
    new Promise((resume, abandon) => void (waiting[chain] = { resume, abandon }));
  const yieldTurn = (chain: 0 | 1): YieldTurn => async () => {
    const other = (1 - chain) as 0 | 1;
    if (ended[other]) {
      if (failed) throw new Abandoned("The other part of the micro-batch failed");
      return;
    }
    const turn = wait(chain);
    wake(other);
    await turn;
  };
  const run = async <T>(chain: 0 | 1, work: (yieldTurn: YieldTurn) => Promise<T>): Promise<T> => {
    try {
      return await work(yieldTurn(chain));
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      ended[chain] = true;
      wake((1 - chain) as 0 | 1);
    }
  };
  const begin = wait(1);
  const results = await Promise.allSettled([
    run(0, first),
    begin.then(() => run(1, second)),
  ]);
  const failures = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
  const cause = failures.find((failure) => !(failure instanceof Abandoned)) ?? failures[0];
  if (cause !== undefined) throw cause;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as [A, B];
}
