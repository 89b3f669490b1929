// SPDX-License-Identifier: Apache-2.0
/** How far a study is: a bar over the steps of all cells, and a line for each that is finished. */
import { visibleLine } from "../core/visible_text.ts";
import { formatEstimate } from "../report/ablation_report.ts";
import { formatLoss, formatSeconds } from "../report/format.ts";
import { createProgress, type Progress } from "../report/progress.ts";
import type { AblateOptions, FinishedCell, PlannedCell } from "../study/ablate.ts";
import type { TrainEvent } from "../train/loop.ts";
import type { Output } from "./output.ts";

/** Progress over the steps of all cells that are still to run. */
export interface StudyProgress {
  readonly onCells: NonNullable<AblateOptions["onCells"]>;
  readonly onStep: NonNullable<AblateOptions["onStep"]>;
  finishCell(cell: FinishedCell): void;
  finish(): void;
}

/** How far a study is, told line by line; the end of its time from the steps so far. */
export function studyProgress(output: Output): StudyProgress {
  let cells: readonly PlannedCell[] = [];
  let [before, total] = [0, 0];
  let startMs = performance.now();
  let progress: Progress | null = null;
  const note = ({ loss, tokensPerSecond }: TrainEvent, place: string) =>
    `${place}  loss ${formatLoss(loss)}  ${Math.round(tokensPerSecond)} tokens/s`;
  return {
    onCells(planned) {
      cells = planned;
      total = planned.reduce((sum, { totalSteps, done }) => sum + (done ? 0 : totalSteps), 0);
      const done = planned.filter((cell) => cell.done).length;
      startMs = performance.now();
      output.line(`${planned.length} cells, ${done} done before, ${total} steps to go`);
    },
    onStep(event, { index, count, label }) {
      progress ??= createProgress(output, "study", total, { firstDone: event.step - 1, startMs });
      // The end of the bar belongs to the last score, not to the last step.
      progress.update(
        Math.min(before + event.step, total - 1),
        note(event, `cell ${index + 1}/${count} ${label}`),
      );
    },
    finishCell(cell) {
      if (!cell.earlier) before += cells[cell.index]?.totalSteps ?? 0;
      if (progress === null) output.line(describeFinished(cell));
      else progress.line(describeFinished(cell));
    },
    finish: () => progress?.finish(),
  };
}

/** What a finished cell is told as, in one line. */
function describeFinished({ index, count, label, numbers, error, earlier }: FinishedCell): string {
  const place = `${index + 1}/${count} ${label}`;
  if (numbers === null) return visibleLine(`${place}  failed: ${error}`);
  const score = Object.entries(numbers.scores).map(([name, estimate]) =>
    `${name} ${formatEstimate(estimate)}`
  );
  const what = [...score, `loss ${formatLoss(numbers.lossLast)}`, formatSeconds(numbers.seconds)].join("  ");
  return visibleLine(`${place}  ${what}${earlier ? "  (done before)" : ""}`);
}
