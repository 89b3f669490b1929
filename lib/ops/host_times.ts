// SPDX-License-Identifier: Apache-2.0
/** What the host lane spends its time on. */

/** Milliseconds by kind of work. */
export interface HostTimes {
  routing: number;
  /** Optimizer steps that rows missed and take before they are read. */
  catchUp: number;
  /** Scores of the routed experts' neurons, and the choice among them. */
  scoring: number;
  /** Sums of value rows. */
  values: number;
  /** All of the adapter's backward pass, with the optimizer steps of rows that take them in it. */
  backward: number;
  /** Optimizer steps of touched rows after their backward pass. */
  update: number;
}

const KINDS = ["routing", "catchUp", "scoring", "values", "backward", "update"] as const;

/** Nothing spent yet. */
export function createHostTimes(): HostTimes {
  return { routing: 0, catchUp: 0, scoring: 0, values: 0, backward: 0, update: 0 };
}

/** What was spent since an earlier reading. */
export function hostTimesSince(now: HostTimes, before: HostTimes): HostTimes {
  const since = createHostTimes();
  for (const kind of KINDS) since[kind] = now[kind] - before[kind];
  return since;
}

/** All kinds together. */
export function hostTotal(times: HostTimes): number {
  return KINDS.reduce((sum, kind) => sum + times[kind], 0);
}
