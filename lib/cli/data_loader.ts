// SPDX-License-Identifier: Apache-2.0
/** Data files of a command, with a progress line when tokenising them takes longer than people like to wait. */
import { visibleLine } from "../core/visible_text.ts";
import type { Dataset } from "../data/dataset.ts";
import type { LoadProgress } from "../data/map_rows.ts";
import { createProgress, type Progress } from "../report/progress.ts";
import { dataOptions } from "./flags/data.ts";
import type { FlagValues } from "./flags/flags.ts";
import { checkPairOptions, type Task, type TaskModel } from "../tasks/task.ts";
import type { Output } from "./output.ts";

/** Reads data files as the flags say. */
export type DataLoader = (paths: readonly string[], model: TaskModel) => Promise<Dataset>;

/** Shorter work shows no progress. */
const PATIENCE_MS = 1000;
const MB = 1e6;

/** A command's loader: what is worth knowing it says once, however often it reads. */
export function createDataLoader(values: FlagValues, output: Output, task: Task): DataLoader {
  const notes = new Set<string>();
  const onNote = (note: string): void => {
    if (!notes.has(note)) output.line(`warning: ${visibleLine(note)}`);
    notes.add(note);
  };
  return async (paths, model) => {
    const options = dataOptions(values);
    checkPairOptions(task, options);
    const startMs = performance.now();
    let progress: Progress | null = null;
    const onProgress = ({ rows, bytes, totalBytes }: LoadProgress): void => {
      const elapsedMs = performance.now() - startMs;
      if (elapsedMs < PATIENCE_MS) return;
      progress ??= createProgress(output, "tokenising, MB", Math.ceil(totalBytes / MB), { startMs });
      progress.update(Math.floor(bytes / MB), `${Math.round(rows / elapsedMs * 1000)} rows/s`);
    };
    try {
      return await task.load(paths, model, { ...options, onProgress, onNote });
    } finally {
      (progress as Progress | null)?.finish();
    }
  };
}
