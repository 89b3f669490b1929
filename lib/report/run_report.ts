// SPDX-License-Identifier: Apache-2.0
/** `report.html` of a run folder: written from what the folder holds, once, or again and again while the run goes on. */
import { basename, join, resolve } from "node:path";
import { statIfThereSync } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";
import { pageBody, wrapBody } from "./html_page.ts";
import { startPageServer } from "./page_server.ts";
import { runPage } from "./run_page.ts";
import { readRunRecord, type RunRecord } from "./run_record.ts";

/** Between looks at a run that goes on. */
const LOOK_MS = 250;
/** Share of one core's time that a page which is watched may take. */
const TIME_SHARE = 0.1;

/**
 * Writes the report of a run, from what its folder holds. Readers see the old page or the new one, never half of one.
 *
 * @returns Path of the page
 * @throws {UserError} When the folder holds no run, or cannot be written
 */
export async function writeRunReport(folder: string): Promise<string> {
  return (await renewRunReport(folder, null)).path;
}

/** A page that was written. */
export interface WrittenReport {
  readonly path: string;
  readonly record: RunRecord;
  /** The page's body. */
  readonly body: string;
}

/**
 * Writes the report of a run.
 *
 * @param before What was read for the page before: then only what is new is read     @mutates before
 * @throws As {@linkcode writeRunReport}
 */
export async function renewRunReport(folder: string, before: RunRecord | null): Promise<WrittenReport> {
  const record = await readRunRecord(folder, before);
  const page = runPage(record);
  const body = pageBody(page);
  const path = join(folder, "report.html");
  await writeTextAtomically(path, wrapBody(page.title, body, false));
  return { path, record, body };
}

/**
 * Writes the report and serves it on 127.0.0.1, both anew whenever the run has logged more.
 *
 * @param port 0 for any that is free     @param onServing Called with the address
 * @param signal When it fires, the page is written and sent a last time, and the serving ends
 * @throws {UserError} When the port cannot be had, or the folder not be written
 */
export async function serveRunReport(
  folder: string,
  port: number,
  onServing: (url: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const server = startPageServer(titleOf(folder), port);
  onServing(server.url);
  let shown = "";
  let dueMs = 0;
  let record: RunRecord | null = null;
  try {
    for (;;) {
      const last = signal.aborted;
      const state = folderState(folder);
      if (state !== null && state !== shown && (last || performance.now() >= dueMs)) {
        const startMs = performance.now();
        const written = await renewRunReport(folder, record);
        server.show(written.body);
        record = written.record;
        shown = state;
        dueMs = startMs + (performance.now() - startMs) / TIME_SHARE;
      }
      if (last) return;
      await pause(LOOK_MS, signal);
    }
  } finally {
    await server.end();
  }
}

function titleOf(folder: string): string {
  return basename(resolve(folder));
}

/** Changes when the run has written more; null while there is no run yet. */
function folderState(folder: string): string | null {
  const states = ["run.json", "metrics.jsonl", "examples.json"].map((name) => {
    const found = statIfThereSync(join(folder, name));
    return found === null ? null : `${found.mtime?.getTime()} ${found.size}`;
  });
  return states[0] === null ? null : states.join(" ");
}

/** Ends early when the signal fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
