// SPDX-License-Identifier: Apache-2.0
/** What a killed process leaves half-written: known by names that only this program gives. */
import { join } from "node:path";
import { remove } from "./folders.ts";
import { listFolderIfThere, statIfThere } from "./read.ts";
import { UNFINISHED } from "./write.ts";

/** Left-overs of a folder, by path. */
export interface LeftOvers {
  readonly removed: readonly string[];
  /** What could not be removed, as errors that name it. */
  readonly failures: readonly unknown[];
}

/** Choices of {@linkcode removeLeftOvers}. */
export interface LeftOverOptions {
  /** Files touched since then may be being written still. Default 0: nobody else writes here. */
  readonly minAgeMs?: number;
  /** Takes what another process may be writing, until it is removed; null when one is. Default: nobody else writes here. */
  readonly claim?: (path: string) => Promise<Disposable | null>;
}

/**
 * Removes what was to become one of the named entries of a folder and never did. Everything else is left alone, and so is
 * a folder that cannot be listed: whoever needs that says so.
 *
 * @param becomes Whether an entry of this name, when whole, is ours
 */
export async function removeLeftOvers(
  folder: string,
  becomes: (name: string) => boolean,
  { minAgeMs = 0, claim = () => Promise.resolve(new DisposableStack()) }: LeftOverOptions = {},
): Promise<LeftOvers> {
  const [removed, failures]: [string[], unknown[]] = [[], []];
  for (const { name } of await listFolderIfThere(folder).catch(() => [])) {
    const whole = UNFINISHED.exec(name)?.[1];
    if (whole === undefined || !becomes(whole)) continue;
    const path = join(folder, name);
    try {
      if (!(await isOlder(path, minAgeMs))) continue;
      using claimed = await claim(path);
      if (claimed === null) continue;
      await remove(path);
      removed.push(path);
    } catch (error) {
      failures.push(error);
    }
  }
  return { removed, failures };
}

/** Left-overs of several folders together. */
export function joinLeftOvers(parts: readonly LeftOvers[]): LeftOvers {
  return {
    removed: parts.flatMap(({ removed }) => removed),
    failures: parts.flatMap(({ failures }) => failures),
  };
}

/** One sentence on what was removed, and one on each that could not be; none when there was nothing. */
export function describeLeftOvers({ removed, failures }: LeftOvers, whose: string): string[] {
  const count = removed.length === 1 ? "1 left-over" : `${removed.length} left-overs`;
  return [
    ...(removed.length === 0 ? [] : [`removed ${count} of ${whose}: ${removed.join(", ")}`]),
    ...failures.map(describeUnremoved),
  ];
}

/** Of what is no longer needed, one sentence. */
export function describeUnremoved(error: unknown): string {
  return `${
    error instanceof Error ? error.message : error
  }; it is no longer needed, and its removal is tried again later`;
}

async function isOlder(path: string, ms: number): Promise<boolean> {
  if (ms === 0) return true;
  const found = await statIfThere(path);
  return found !== null && Date.now() - (found.mtime?.getTime() ?? 0) > ms;
}
