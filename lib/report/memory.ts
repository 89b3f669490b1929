// SPDX-License-Identifier: Apache-2.0
/** Memory by class, as a table. */
import { formatBytes } from "./format.ts";
import { formatTable } from "./table.ts";

/** Bytes by class. */
type BytesByClass = Readonly<Partial<Record<string, number>>>;

/** Whether a class begins with so much less than it becomes that both are told. */
function grows(start: number, most: number): boolean {
  return start < 0.99 * most;
}

/** `33.6 MiB`, or of what grows `about 33.6 MiB, grows to 67.1 MiB at most`. */
export function formatGrowth(start: number, most: number): string {
  return grows(start, most)
    ? `about ${formatBytes(Math.round(start))}, grows to ${formatBytes(most)} at most`
    : formatBytes(most);
}

/**
 * Host bytes by class with their sum, below a head.
 *
 * @param bytes At most     @param start Of classes that grow from step to step: after the first
 */
export function memoryRows(bytes: BytesByClass, start: BytesByClass = {}): string[][] {
  const classes = Object.entries(bytes).filter((entry): entry is [string, number] => entry[1] !== undefined);
  const before = (name: string, most: number): number => start[name] ?? most;
  const total = classes.reduce((sum, [, most]) => sum + most, 0);
  // A class that is not touched at all, like mapped weights that are only read once, does not grow.
  const grown = classes.filter(([name, most]) => before(name, most) > 0 && grows(before(name, most), most));
  const totalStart = grown.reduce((sum, [name, most]) => sum - most + before(name, most), total);
  const names = new Set(grown.map(([name]) => name));
  return [
    ["host memory", "predicted"],
    ...classes.map(([name, most]) => [name, formatGrowth(names.has(name) ? before(name, most) : most, most)]),
    ["together", formatGrowth(totalStart, total)],
  ];
}

/** The same as a text table. */
export function formatMemory(bytes: BytesByClass, start: BytesByClass = {}): string {
  return formatTable(memoryRows(bytes, start));
}
