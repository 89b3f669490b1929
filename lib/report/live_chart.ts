// SPDX-License-Identifier: Apache-2.0
/** A chart of metrics that grows while a run goes on, in constant memory. */
import { type Chart, linePanels } from "./chart.ts";
import { createRedraw, type Redraw } from "./notebook.ts";
import { addPoint, emptySeries } from "./thin_series.ts";

/** Metrics of a step, as `train` yields them. */
export type StepNumbers<Name extends string> =
  & { readonly step: number; readonly totalSteps?: number }
  & { readonly [K in Name]: number | null };

/** A chart that redraws in place. */
export interface LiveChart<Name extends string> {
  /** Adds a step; redraws now and then, and at the last step. A metric that is null was not measured. */
  push(event: StepNumbers<Name>): Promise<void>;
  /** Draws what was pushed since the last redraw: for a run that ended early. */
  finish(): Promise<void>;
  /** The chart as it stands. */
  draw(): Chart;
}

/** Often enough to watch, seldom enough to cost little: drawing takes some 10 ms. */
const REDRAW_INTERVAL_MS = 250;

/**
 * A chart of some metrics of a run, one line each: `liveChart(["loss", "activeNeurons"])`. In a notebook it appears at the
 * first step and is redrawn in place; elsewhere nothing is shown and `draw().svg` has the picture.
 *
 * @param options `redraw`: where it is shown; `now`: a clock in milliseconds
 */
export function liveChart<const Name extends string>(
  metrics: readonly Name[],
  options: { readonly redraw?: Redraw; readonly now?: () => number } = {},
): LiveChart<Name> {
  const { redraw = createRedraw(), now = () => performance.now() } = options;
  const lines = metrics.map((name) => ({ name, newest: null as number | null, ...emptySeries() }));
  let drawnMs = -Infinity;
  let waiting = false;
  const draw = () => linePanels(lines, "step");
  const show = async () => {
    waiting = false;
    drawnMs = now();
    await redraw(draw());
  };
  return {
    draw,
    async push(event) {
      for (const line of lines) {
        const y = metricOf(event, line.name);
        if (y === null) continue;
        addPoint(line, event.step, y);
        line.newest = y;
      }
      waiting = true;
      if (event.step === event.totalSteps || now() - drawnMs >= REDRAW_INTERVAL_MS) await show();
    },
    async finish() {
      if (waiting) await show();
    },
  };
}

/** Cells of a notebook are not type-checked: a wrong name must say so itself. */
function metricOf(event: object, name: string): number | null {
  const value: unknown = (event as Readonly<Record<string, unknown>>)[name];
  if (value === null || typeof value === "number") return value;
  const names = Object.entries(event).filter(([, value]) => typeof value === "number").map(([name]) => name);
  throw new TypeError(`The step has no metric "${name}": it has ${names.join(", ")}`);
}
