// SPDX-License-Identifier: Apache-2.0
/** Cases of a campaign, as many at once as there are cores, until the time is over. */
import type { CampaignOptions, FaultFailure, FaultReport } from "./report.ts";

/** What came of a case. */
export interface CaseResult {
  /** What is counted: one more of each. */
  readonly counted: readonly string[];
  /** What must not happen and did; none when all is well. */
  readonly problems: readonly string[];
  /** What was done, for the message of a failure: `fail:5 at call 12 (write run/run.json) of train`. */
  readonly what: string;
  /** How to ask for this case alone. */
  readonly replay: string;
}

/** How often at most it is said how far a campaign is, in milliseconds. */
const SAY_MS = 10_000;

/** Each scenario costs several runs before its first fault. */
const SECONDS_PER_SCENARIO = 15;
/** Of a sample, however long it takes. */
const SAMPLED_SCENARIOS = 2;

/** How many scenarios a campaign takes, from the first. */
export function scenarioCount({ seconds, most }: CampaignOptions): number {
  return most === undefined ? Math.max(1, Math.floor(seconds / SECONDS_PER_SCENARIO)) : SAMPLED_SCENARIOS;
}

/**
 * Runs cases in their order and counts what came of them.
 *
 * @param names Counts that are shown also when they are 0, in this order
 */
export async function runCases(
  name: string,
  cases: Iterable<() => Promise<CaseResult>>,
  names: readonly string[],
  { seconds, most = Infinity, onProgress = () => {} }: CampaignOptions,
): Promise<FaultReport> {
  const startMs = performance.now();
  const counts: Record<string, number> = Object.fromEntries(names.map((each) => [each, 0]));
  const failures: FaultFailure[] = [];
  const queue = cases[Symbol.iterator]();
  let [begun, done, saidMs] = [0, 0, startMs];
  const isOver = () => begun >= most || performance.now() - startMs > seconds * 1000;
  const work = async () => {
    while (!isOver()) {
      begun++;
      const next = queue.next();
      if (next.done) return;
      const { counted, problems, what, replay } = await next.value();
      for (const each of counted) counts[each] = (counts[each] ?? 0) + 1;
      if (problems.length > 0) {
        failures.push({
          what: `${what}: ${problems.join("; ")}`,
          how: `deno task faults --case "${name} ${replay}"`,
        });
        onProgress(`VIOLATION in ${name}, case "${replay}"`);
      }
      done++;
      const nowMs = performance.now();
      if (nowMs - saidMs < SAY_MS) continue;
      saidMs = nowMs;
      const elapsed = (nowMs - startMs) / 1000;
      const left = Math.max(0, seconds - elapsed).toFixed(0);
      onProgress(
        `${name}: ${done} cases, ${
          (done / elapsed).toFixed(2)
        }/s, ${failures.length} violations, ${left} s left`,
      );
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, work));
  return { name, counts, failures };
}

/** What a function gives for each item, in their order, as many at once as there are cores. */
export async function inParallel<T, R>(items: readonly T[], each: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const work = async () => {
    for (const [i, item] of queue) results[i] = await each(item);
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, work));
  return results;
}
