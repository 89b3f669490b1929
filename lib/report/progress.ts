// SPDX-License-Identifier: Apache-2.0
/**
 * Progress of long work: one redrawn line on a terminal, a plain line every few seconds elsewhere.
 * (Own code: the npm progress libraries redraw on a timer, which freezes while a native call runs, and one of them never
 * returns on a terminal that reports no columns.)
 */
import { visibleLine } from "../core/visible_text.ts";
import { formatSeconds } from "./format.ts";
import { cutToWidth } from "./text_width.ts";

/** Where lines go. */
export interface ProgressOutput {
  readonly isTerminal: boolean;
  /** Width of the terminal, when it is one and known: a longer line would wrap and could not be redrawn. */
  readonly columns?: number | null;
  write(text: string): void;
  /** Goes back to the start of the line and empties it. Asked of a terminal alone. */
  eraseLine(): void;
}

/** Shows how far work is. */
export interface Progress {
  /** Work done so far, of the total, with what to show beside it. */
  update(done: number, note: string): void;
  /** Prints a line without breaking the bar. */
  line(text: string): void;
  /** Ends the bar. */
  finish(): void;
}

const BAR_WIDTH = 24;
const PLAIN_INTERVAL_MS = 5000;
const REDRAW_INTERVAL_MS = 60;

function bar(share: number): string {
  const filled = Math.round(Math.min(1, share) * BAR_WIDTH);
  return "█".repeat(filled) + "░".repeat(BAR_WIDTH - filled);
}

/** Seconds left at the pace so far; infinite before the first piece is done. */
function secondsLeft(startMs: number, nowMs: number, done: number, firstDone: number, total: number): number {
  const finished = done - firstDone;
  return finished > 0 ? (nowMs - startMs) / 1000 / finished * (total - done) : Infinity;
}

/**
 * Progress towards `total` pieces.
 *
 * @param label What is being done: `training`
 * @param options `firstDone`: pieces done before this run, for a resumed one; `startMs`: when work began, if before this
 *   call; `now`: a clock in milliseconds
 */
export function createProgress(
  output: ProgressOutput,
  label: string,
  total: number,
  options: { readonly firstDone?: number; readonly startMs?: number; readonly now?: () => number } = {},
): Progress {
  const { firstDone = 0, now = () => performance.now() } = options;
  const startMs = options.startMs ?? now();
  let shownMs = -Infinity;
  let onLine = false;
  const clear = () => {
    if (onLine) output.eraseLine();
    onLine = false;
  };
  return {
    update(done, note) {
      const nowMs = now();
      const interval = output.isTerminal ? REDRAW_INTERVAL_MS : PLAIN_INTERVAL_MS;
      if (done < total && nowMs - shownMs < interval) return;
      shownMs = nowMs;
      const left = formatSeconds(secondsLeft(startMs, nowMs, done, firstDone, total));
      if (output.isTerminal) {
        clear();
        const line = `${label} ${bar(done / total)} ${done}/${total}  ${left} left  ${note}`;
        output.write(cutToWidth(visibleLine(line), (output.columns ?? Infinity) - 1));
        onLine = true;
      } else {
        output.write(`${visibleLine(`${label} ${done}/${total}  ${note}  ${left} left`)}\n`);
      }
    },
    line(text) {
      clear();
      output.write(`${text}\n`);
    },
    finish() {
      if (onLine) output.write("\n");
      onLine = false;
    },
  };
}
