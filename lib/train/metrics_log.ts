// SPDX-License-Identifier: Apache-2.0
/** `metrics.jsonl`: a line a step, appended while the run goes on, cut when it resumes, and read in pieces however long it is. */
import { isJsonObject } from "../core/json.ts";
import { readLines, readLinesBackwards, readRange } from "../files/lines.ts";
import { statIfThere } from "../files/read.ts";
import { openToAppend } from "../files/write.ts";

/** A line: numbers by name, and on some lines the load of experts and the memory by class. */
export interface MetricsLine {
  readonly step: number;
  readonly [name: string]: unknown;
}

/** A line with its place in the file, the byte after its newline included. */
export interface PlacedLine {
  readonly start: number;
  readonly end: number;
  /** Null for one that is damaged: no JSON of a step, or longer than {@linkcode MOST_LINE_BYTES}. */
  readonly line: MetricsLine | null;
}

/** Lines that were read at once. */
export interface MetricsBlock {
  readonly lines: readonly PlacedLine[];
  /** Byte after them: the next line begins there. */
  readonly end: number;
}

/** Two million experts in all layers together: what is longer was not written by a run. */
export const MOST_LINE_BYTES = 16 * 2 ** 20;

/** The log of a run under way. Disposing it closes the file. */
export interface MetricsLog extends Disposable {
  /** Step of the last line that was kept; 0 when none was. */
  readonly keptStep: number;
  append(line: object): Promise<void>;
  /** Waits until all lines are on the disk. */
  sync(): Promise<void>;
}

/**
 * Opens the log after `step`. What stands behind the last line up to it is cut off: lines of later steps, which a killed run
 * wrote after its checkpoint, and whatever a loss of power left there. Takes as long as what is cut, not as the log.
 */
export async function openMetrics(path: string, step: number): Promise<MetricsLog> {
  const size = (await statIfThere(path))?.size ?? 0;
  const kept = await lastLineUpTo(path, step);
  const file = await openToAppend(path);
  try {
    if (size > kept.end) await file.cut(kept.end);
    if (!kept.whole) await file.append(NEWLINE);
    // Lines that come must not stand on the disk before the cut does.
    await file.sync();
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
  return {
    keptStep: kept.step,
    append: (line) => file.append(lineBytes(line)),
    sync: () => file.sync(),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

/**
 * The log's lines in order, as many at once as are read at once. A last line that is being written is left for later, empty
 * ones are no lines.
 *
 * @param from Byte that a line begins at     @returns Nothing where there is no log
 */
export async function* readMetrics(path: string, from = 0): AsyncGenerator<MetricsBlock> {
  if (await statIfThere(path) === null) return;
  for await (const read of readLines(path, from, MOST_LINE_BYTES)) {
    const lines = read.flatMap(({ start, end, text }) =>
      text !== null && text.trim() === "" ? [] : [{ start, end, line: parsed(text) }]
    );
    yield { lines, end: read.at(-1)?.end ?? from };
  }
}

/** The line at a place that was found before; null when it does not stand there any more. */
export async function readMetricsLine(path: string, start: number, end: number): Promise<MetricsLine | null> {
  return parsed(new TextDecoder().decode(await readRange(path, start, end)));
}

/** The last line of a step up to `step`; nothing at the start of the file when there is none. */
async function lastLineUpTo(
  path: string,
  step: number,
): Promise<{ readonly end: number; readonly whole: boolean; readonly step: number }> {
  const none = { end: 0, whole: true, step: 0 };
  if (step === 0 || await statIfThere(path) === null) return none;
  for await (const { end, whole, text } of readLinesBackwards(path, MOST_LINE_BYTES)) {
    const line = parsed(text);
    if (line !== null && line.step <= step) return { end, whole, step: line.step };
  }
  return none;
}

function parsed(text: string | null): MetricsLine | null {
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    const isLine = isJsonObject(value) && Number.isSafeInteger(value.step) && value.step as number >= 0;
    return isLine ? value as unknown as MetricsLine : null;
  } catch {
    return null;
  }
}

const NEWLINE = new TextEncoder().encode("\n");

/** A line that no reader would take loses its lists of numbers, and names them. */
function lineBytes(line: object): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(line) + "\n");
  if (bytes.length <= MOST_LINE_BYTES) return bytes;
  const isList = ([, value]: [string, unknown]) => Array.isArray(value);
  const entries = Object.entries(line);
  const leftOut = entries.filter(isList).map(([name]) => name).join(" ");
  const rest = Object.fromEntries(entries.filter((entry) => !isList(entry)));
  return new TextEncoder().encode(JSON.stringify({ ...rest, leftOut }) + "\n");
}
