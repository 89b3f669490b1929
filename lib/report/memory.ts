// SPDX-License-Identifier: Apache-2.0
/** Memory by class, as a table. */
import { formatBytes } from "./format.ts";
import { formatTable } from "./table.ts";

/** A table of host bytes by class with their sum. */
export function formatMemory(bytes: Readonly<Partial<Record<string, number>>>): string {
  const classes = Object.entries(bytes).filter((entry): entry is [string, number] => entry[1] !== undefined);
  const total = classes.reduce((sum, [, count]) => sum + count, 0);
  return formatTable([
    ["host memory", "predicted"],
    ...[...classes, ["together", total] as const].map(([name, count]) => [name, formatBytes(count)]),
  ]);
}
