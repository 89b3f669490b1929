// SPDX-License-Identifier: Apache-2.0
/** The study as a picture: scores with their intervals above, speeds below. */
import type { Estimate } from "../../../lib/evaluate/metrics.ts";
import { barPanel, drawPanels, type Mark, pointPanel } from "../panels.ts";
import type { MethodResult } from "./results.ts";

/** A score's axis begins at a multiple of this. */
const SCORE_STEP = 0.05;

/** SVG text. */
export function drawStudy(methods: readonly MethodResult[]): string {
  const mark = (estimate: Estimate | null): Mark | null =>
    estimate && { value: estimate.mean, low: estimate.low, high: estimate.high };
  const scores = methods.map(({ method, accuracy }) => ({ name: method, marks: accuracy.map(mark) }));
  const speeds = methods.map(({ method, rowsPerSecond }) => ({
    name: method,
    marks: rowsPerSecond.map((value) => value === null ? null : { value }),
  }));
  const panels = [
    pointPanel(
      "accuracy on the test rows, 95 % intervals over the seeds",
      scores,
      SCORE_STEP,
      (value) => `${(100 * value).toFixed(1)} %`,
    ),
    barPanel("rows trained a second of CPU time", speeds, (value) => value.toFixed(0)),
  ];
  const sides = ["meft", "PyTorch + PEFT"];
  return drawPanels(panels, sides, "accuracy and speed of each method, here and in PyTorch");
}
