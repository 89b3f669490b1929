// SPDX-License-Identifier: Apache-2.0
/** A chart of a study that grows while its cells finish. */
import type { CellResult } from "../study/results.ts";
import { type PlotChoice, plotStudy } from "./ablation_charts.ts";
import type { Chart } from "./chart.ts";
import { createRedraw, type Redraw } from "./notebook.ts";

/** A chart that redraws in place, cell by cell. */
export interface LiveStudy {
  /** Adds a finished cell and redraws. */
  push(cell: CellResult): Promise<void>;
  /** The chart as it stands. */
  draw(): Promise<Chart>;
  /** The cells so far: for tables and other charts. */
  readonly cells: readonly CellResult[];
}

/**
 * A chart of a study: `liveStudy({ x: "topK" })`. In a notebook it appears with the first cell and is redrawn in place with
 * each; elsewhere nothing is shown and `draw()` has the picture.
 *
 * @param options `redraw`: where it is shown
 */
export function liveStudy(
  choice: PlotChoice,
  { redraw = createRedraw() }: { readonly redraw?: Redraw } = {},
): LiveStudy {
  const cells: CellResult[] = [];
  const draw = () => plotStudy(cells, choice);
  return {
    cells,
    draw,
    async push(cell) {
      cells.push(cell);
      await redraw(await draw());
    },
  };
}
