// SPDX-License-Identifier: Apache-2.0
/**
 * The summary of a log kept beside it, so that a report reads what is new and not the log from its start. Of logs of a few
 * megabytes none is kept. An index that does not fit its log, whatever the reason, is one that is not there.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { isJsonObject } from "../core/json.ts";
import { readRange } from "../files/lines.ts";
import { readTextIfThere, statIfThere } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";
import { readMetrics } from "../train/metrics_log.ts";
import { addLine, emptySummary, type MetricsSummary } from "./metrics_summary.ts";

/** How far a log has been read, and what was found. */
export interface ReadMetrics {
  readonly summary: MetricsSummary;
  /** Bytes that were read: a line begins there. */
  readonly offset: number;
  /** Of the file, as the file system numbers it; null where it does not. */
  readonly inode: number | null;
  /** Hash of the last bytes before the offset: after a cut other ones stand there. */
  readonly tail: string;
  /** Offset of what the index holds. */
  readonly savedOffset: number;
}

/** In a run's folder. */
const INDEX = ".metrics-index.json";
/** Changes with what a summary is. */
const FORMAT = "meft metrics index 1";
/** Reading this much again costs less than writing the index. */
const SAVE_BYTES = 4 * 2 ** 20;
const TAIL_BYTES = 4096;

/**
 * Reads what a log has beyond what was read before. Costs what is new, and at most {@linkcode SAVE_BYTES} more in a new process;
 * a log that was cut, as a resumed run does, is read from its start once.
 *
 * @param before From the call before; spent     @mutates before
 */
export async function readNewMetrics(folder: string, before: ReadMetrics | null): Promise<ReadMetrics> {
  const path = join(folder, "metrics.jsonl");
  const file = await statIfThere(path);
  const nothing = {
    summary: emptySummary(),
    offset: 0,
    inode: file?.ino ?? null,
    tail: hash(""),
    savedOffset: 0,
  };
  if (file === null) return nothing;
  const known = before ?? await loadIndex(folder);
  const start = known !== null && await fits(known, path, file) ? known : nothing;
  const { summary } = start;
  let { offset } = start;
  for await (const { lines, end } of readMetrics(path, offset)) {
    for (const line of lines) addLine(summary, line);
    offset = end;
  }
  const read = { ...start, offset, tail: await tailOf(path, offset) };
  if (offset - read.savedOffset < SAVE_BYTES) return read;
  const saved = { ...read, savedOffset: offset };
  const text = JSON.stringify(saved);
  await writeTextAtomically(join(folder, INDEX), JSON.stringify({ format: FORMAT, hash: hash(text), text }));
  return saved;
}

async function loadIndex(folder: string): Promise<ReadMetrics | null> {
  try {
    const value: unknown = JSON.parse(await readTextIfThere(join(folder, INDEX)) ?? "null");
    if (!isJsonObject(value) || value.format !== FORMAT || typeof value.text !== "string") return null;
    return hash(value.text) === value.hash ? JSON.parse(value.text) : null;
  } catch {
    return null;
  }
}

async function fits(known: ReadMetrics, path: string, { ino, size }: Deno.FileInfo): Promise<boolean> {
  return known.inode === ino && known.offset <= size && known.tail === await tailOf(path, known.offset);
}

async function tailOf(path: string, offset: number): Promise<string> {
  return hash(await readRange(path, Math.max(0, offset - TAIL_BYTES), offset));
}

function hash(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
