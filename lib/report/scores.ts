// SPDX-License-Identifier: Apache-2.0
/** Scores as people read them: in a terminal, and on a page. */
import type { Evaluation } from "../evaluate/task_scores.ts";
import { formatLoss } from "./format.ts";

/** The loss, where it was measured, and each score with its interval; the first row is the head. */
export function scoreRows({ loss, of, scores }: Evaluation): string[][] {
  return [
    ["metric", "value", "95 % interval", "of"],
    ...(loss === null ? [] : [["loss", formatLoss(loss), "", of]]),
    ...Object.entries(scores).map(([name, { mean, low, high, count }]) => [
      name,
      formatScore(mean),
      `${formatScore(low)} to ${formatScore(high)}`,
      `${count} rows`,
    ]),
  ];
}

/** A score in [0, 1], or a correlation in [-1, 1]; null, as JSON has it, is none. */
function formatScore(score: number | null): string {
  return score !== null && Number.isFinite(score) ? score.toFixed(4) : "not defined";
}
