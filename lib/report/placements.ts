// SPDX-License-Identifier: Apache-2.0
/** What the cost model predicts for each way to compute with an adapter's rows. */
import type { StepPrediction } from "../predict/cost_model.ts";
import { formatBytes } from "./format.ts";
import { formatTable } from "./table.ts";

/** A table of the ways, the quickest first, with what each would be bound by. */
export function formatPlacements(predictions: readonly StepPrediction[]): string {
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  return formatTable([
    ["placement", "halves", "predicted step", "bound by", "model", "host", "down", "up"],
    ...predictions.map(({ placement, halves, stepMs, bound, busyMs, downBytes, upBytes }) => [
      placement,
      String(halves),
      ms(stepMs),
      bound,
      ms(busyMs.model),
      ms(busyMs.host),
      `${ms(busyMs.down)}, ${formatBytes(downBytes)}`,
      `${ms(busyMs.up)}, ${formatBytes(upBytes)}`,
    ]),
  ]);
}
