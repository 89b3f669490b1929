// SPDX-License-Identifier: Apache-2.0
/** How work is timed: in several rounds, after one that warms up. */
import type { Clock } from "../../train/lanes.ts";

/** By which clock work is timed, and how often: at least so many rounds, and for at least so long. */
export interface Meter {
  readonly clock: Clock;
  readonly rounds: number;
  readonly budgetMs: number;
}

/** Shorter than this is noise of the clock. */
const LEAST_MS = 1e-4;

/** Milliseconds of each round by each of the clocks: first of the one that warms up, then of those that the meter asks for. */
export async function timeRounds<Name extends string>(
  meter: Meter,
  clocks: Readonly<Record<Name, Clock>>,
  round: () => unknown,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(clocks) as Name[];
  const read = () => names.map((name) => clocks[name]());
  const rounds = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  const time = async (): Promise<void> => {
    const before = read();
    await round();
    const after = read();
    names.forEach((name, i) => rounds[name].push((after[i] as number) - (before[i] as number)));
  };
  await time();
  const begin = meter.clock();
  for (let done = 0; done < meter.rounds || meter.clock() - begin < meter.budgetMs; done++) await time();
  return rounds;
}

/** Milliseconds of the quickest round, not of the one that warms up. */
export async function quickest(meter: Meter, round: () => unknown): Promise<number> {
  const { wall: [, ...rounds] } = await timeRounds(meter, { wall: meter.clock }, round);
  return rounds.reduce((best, ms) => Math.min(best, ms), Infinity);
}

/** Of so much work in so many milliseconds. */
export function perSecond(work: number, ms: number): number {
  return 1000 * work / Math.max(LEAST_MS, ms);
}
