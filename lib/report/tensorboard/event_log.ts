// SPDX-License-Identifier: Apache-2.0
/** A run's metrics as event files that TensorBoard opens. */
import { join } from "node:path";
import { makeFolder, remove } from "../../files/folders.ts";
import { readRange } from "../../files/lines.ts";
import { listFolderIfThere, stat } from "../../files/read.ts";
import { type FileWriter, openToAppend, writeFileAtomically } from "../../files/write.ts";
import { type MetricsLine as Line, readMetrics } from "../../train/metrics_log.ts";
import { readRun } from "../run_record.ts";
import { joinBytes, lastStep, type Scalar, scalarRecord, startRecord, versionRecord } from "./records.ts";

/** Where metrics stand in TensorBoard, whose groups are named before the slash; all others are about time. */
const GROUPS: Readonly<Record<string, string>> = {
  loss: "train",
  lr: "train",
  gradNorm: "train",
  epoch: "train",
  evalLoss: "eval",
  activeNeurons: "neurons",
  deadNeurons: "neurons",
  heldBytes: "memory",
  tokens: "train",
  targets: "train",
};

/** Not drawn: the step is TensorBoard's own axis, the moment its other one, the total does not change. */
const LEFT_OUT = new Set(["step", "time", "totalSteps"]);

/** The scalars of a line, in its order: each number, and each class of the memory. */
export function scalarsOf(line: Line): Scalar[] {
  return Object.entries(line).flatMap(([name, value]) => {
    if (LEFT_OUT.has(name)) return [];
    if (typeof value === "number") return [{ tag: `${GROUPS[name] ?? "time"}/${name}`, value }];
    if (name !== "peakBytes" || typeof value !== "object" || value === null) return [];
    return Object.entries(value).map(([memoryClass, bytes]) => ({
      tag: `memory/${memoryClass}PeakBytes`,
      value: Number(bytes),
    }));
  });
}

/** An event file that grows with a run. */
export interface EventLog extends Disposable {
  append(line: Line): void;
}

/**
 * Writes what the run has logged so far to `tensorboard/` in its folder, in place of what earlier calls wrote there. Lines that
 * are damaged are left out. Takes memory for a part of the log, however long it is.
 *
 * @returns Path of the event file
 * @throws {UserError} When the folder holds no run, or cannot be written
 */
export async function writeEventFile(runFolder: string, nowMs: number = Date.now()): Promise<string> {
  await readRun(runFolder);
  const older = await ownFiles(runFolder);
  // A new name each time: a TensorBoard that is open reads on where it stopped in a file it knows.
  const path = await newEventFile(runFolder, older, nowMs, async (write) => {
    let isEmpty = true;
    for await (const block of readMetrics(join(runFolder, "metrics.jsonl"))) {
      const lines = block.lines.map(({ line }) => line).filter((line) => line !== null);
      const start = isEmpty && lines[0] !== undefined ? startRecords(lines[0]) : [];
      if (start.length > 0) isEmpty = false;
      await write(joinBytes([...start, ...lines.map(recordOf)]));
    }
    if (isEmpty) await write(joinBytes(startRecords({ step: 0 })));
  });
  // Two files with the same steps would be drawn over each other.
  for (const name of older) await remove(join(runFolder, FOLDER, name));
  return path;
}

/**
 * Opens the event file of a run that goes on. A resumed run whose earlier steps have theirs gets a new one, which says that it
 * restarts there: TensorBoard then drops what came after. Otherwise all that is logged so far is written.
 *
 * @param first Line of the first step that this process took: it is logged     @throws As {@linkcode writeEventFile}
 */
export async function openEventLog(
  runFolder: string,
  first: Line,
  nowMs: number = Date.now(),
): Promise<EventLog> {
  const older = await ownFiles(runFolder);
  const newest = older.at(-1);
  const written = newest === undefined ? null : await lastStepOf(join(runFolder, FOLDER, newest));
  const path = written === null || written < first.step - 1
    ? await writeEventFile(runFolder, nowMs)
    : await newEventFile(
      runFolder,
      older,
      nowMs,
      (write) => write(joinBytes([...startRecords(first), recordOf(first)])),
    );
  const file = await openToAppend(path);
  return {
    append: (line) => file.appendSync(recordOf(line)),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

const FOLDER = "tensorboard";

/** TensorBoard takes files by the first words of this name, in the order of their names. */
const OURS = /^events\.out\.tfevents\.(\d{10})\.meft$/;

/** Names of the files that were written here, the newest last. */
async function ownFiles(runFolder: string): Promise<string[]> {
  const entries = await listFolderIfThere(join(runFolder, FOLDER));
  return entries.map(({ name }) => name).filter((name) => OURS.test(name));
}

/** Writes a file that TensorBoard takes after the older ones. */
async function newEventFile(
  runFolder: string,
  older: readonly string[],
  nowMs: number,
  write: (writer: FileWriter) => Promise<void>,
): Promise<string> {
  await makeFolder(join(runFolder, FOLDER));
  const newest = Number(OURS.exec(older.at(-1) ?? "")?.[1] ?? 0);
  const seconds = Math.max(newest + 1, Math.floor(nowMs / 1000));
  const path = join(runFolder, FOLDER, `events.out.tfevents.${String(seconds).padStart(10, "0")}.meft`);
  await writeFileAtomically(path, null, write);
  return path;
}

/** Longer than any record: numbers of one step. */
const LAST_BYTES = 1 << 16;

async function lastStepOf(path: string): Promise<number | null> {
  const { size } = await stat(path);
  return lastStep(await readRange(path, Math.max(0, size - LAST_BYTES), size));
}

/** Of a file whose first line this is. TensorBoard takes a run's first start for none that drops anything, so each has one. */
function startRecords(first: Line): Uint8Array[] {
  const seconds = secondsOf(first);
  return [versionRecord(seconds), startRecord(seconds, first.step)];
}

/** Lines of older runs have no time: then they lie a second apart. */
function secondsOf({ step, time }: Line): number {
  return typeof time === "number" ? time : step;
}

function recordOf(line: Line): Uint8Array {
  return scalarRecord(secondsOf(line), line.step, scalarsOf(line));
}
