// SPDX-License-Identifier: Apache-2.0
/** Neighbours of a number among the divisors or the multiples of another. */

/** Tried one by one: the square root of 2^44, beyond which no adapter fits anywhere and a near divisor is as good. */
const MOST_TRIED = 2 ** 22;

/** The one or two divisors of n nearest to `target`, nearest first, the smaller of equals first. */
export function nearestDivisors(n: number, target: number): number[] {
  let [below, above] = [0, Infinity];
  for (let i = 1; i * i <= n && i <= MOST_TRIED; i++) {
    if (n % i !== 0) continue;
    for (const divisor of [i, n / i]) {
      if (divisor <= target) below = Math.max(below, divisor);
      else above = Math.min(above, divisor);
    }
  }
  return [below, above]
    .filter((divisor) => divisor > 0 && divisor < Infinity)
    .toSorted((a, b) => Math.abs(a - target) - Math.abs(b - target) || a - b);
}

/** The multiples of n (at least n itself) on both sides of `target`, in increasing order. */
export function nearestMultiples(target: number, n: number): number[] {
  const below = Math.floor(target / n) * n;
  return below === 0 ? [n] : below === target ? [target] : [below, below + n];
}
