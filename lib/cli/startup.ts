// SPDX-License-Identifier: Apache-2.0
/** How long a run takes to get going: runtime, model, data, plan, parameters, and what the first step costs beyond others. */
import { formatMilliseconds } from "../report/format.ts";

/** Milliseconds by part, in order. */
export interface Startup {
  readonly parts: Readonly<Record<string, number>>;
  /** Ends a part that began when the one before it ended. @mutates parts */
  mark(part: string): void;
}

/** Begins with what the process needed so far. */
export function createStartup(clock: () => number = () => performance.now()): Startup {
  let last = clock();
  const parts: Record<string, number> = { runtime: last };
  return {
    parts,
    mark(part) {
      const now = clock();
      parts[part] = now - last;
      last = now;
    },
  };
}

/** `0.9 s: runtime 0.1 s, model 0.0 s, …`. */
export function formatStartup(parts: Readonly<Record<string, number>>): string {
  const total = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
  const each = Object.entries(parts).map(([name, ms]) => `${name} ${formatMilliseconds(ms)}`);
  return `${formatMilliseconds(total)}: ${each.join(", ")}`;
}
