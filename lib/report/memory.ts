// SPDX-License-Identifier: Apache-2.0
/** Memory by class, as a table. */
import { formatBytes } from "./format.ts";
import { formatTable } from "./table.ts";

/** Bytes by class. */
type BytesByClass = Readonly<Partial<Record<string, number>>>;

/** Host bytes by class with their sum, below a head. */
export function memoryRows(bytes: BytesByClass): string[][] {
  const classes = Object.entries(bytes).filter((entry): entry is [string, number] => entry[1] !== undefined);
  const total = classes.reduce((sum, [, count]) => sum + count, 0);
  return [
    ["host memory", "predicted"],
    ...[...classes, ["together", total] as const].map(([name, count]) => [name, formatBytes(count)]),
  ];
}

/** The same as a text table. */
export function formatMemory(bytes: BytesByClass): string {
  return formatTable(memoryRows(bytes));
}
