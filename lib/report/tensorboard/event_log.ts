// SPDX-License-Identifier: Apache-2.0
/** A run's metrics as an event file that TensorBoard opens. */
import { join } from "node:path";
import { makeFolder, remove } from "../../files/folders.ts";
import { listFolder } from "../../files/read.ts";
import { openToAppend, writeFileAtomically } from "../../files/write.ts";
import { readRunRecord } from "../run_record.ts";
import { type Scalar, scalarRecord, versionRecord } from "./records.ts";

/** What a line of `metrics.jsonl` has beside its numbers. */
type Line = { readonly step: number } & Readonly<Record<string, unknown>>;

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
 * Writes what the run has logged so far to `tensorboard/` in its folder, in place of what an earlier call wrote there.
 *
 * @returns Path of the event file
 * @throws {UserError} When the folder holds no run, or cannot be written
 */
export async function writeEventFile(runFolder: string, nowMs: number = Date.now()): Promise<string> {
  const { metrics } = await readRunRecord(runFolder);
  const folder = join(runFolder, "tensorboard");
  await makeFolder(folder);
  const records = [versionRecord(secondsOf(metrics[0] ?? { step: 0 })), ...metrics.map(recordOf)];
  const bytes = records.reduce((sum, { length }) => sum + length, 0);
  const older = (await listFolder(folder)).map(({ name }) => name).filter((name) => OURS.test(name));
  // A new name each time: a TensorBoard that is open reads on where it stopped in a file it knows.
  const path = join(folder, eventFileName(older, nowMs));
  await writeFileAtomically(path, bytes, async (write) => {
    for (const record of records) await write(record);
  });
  // Two files with the same steps would be drawn over each other.
  for (const name of older) await remove(join(folder, name));
  return path;
}

/** TensorBoard takes files by the first words of this name, in the order of their names. */
const OURS = /^events\.out\.tfevents\.(\d{10})\.meft$/;

function eventFileName(older: readonly string[], nowMs: number): string {
  const newest = Math.max(0, ...older.map((name) => Number(OURS.exec(name)?.[1])));
  const seconds = Math.max(newest + 1, Math.floor(nowMs / 1000));
  return `events.out.tfevents.${String(seconds).padStart(10, "0")}.meft`;
}

/** Opens the event file of a run that goes on, with what it has logged so far. @throws As {@linkcode writeEventFile} */
export async function openEventLog(runFolder: string): Promise<EventLog> {
  const path = await writeEventFile(runFolder);
  const file = await openToAppend(path);
  return {
    append: (line) => file.appendSync(recordOf(line)),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

/** Lines of older runs have no time: then they lie a second apart. */
function secondsOf({ step, time }: Line): number {
  return typeof time === "number" ? time : step;
}

function recordOf(line: Line): Uint8Array {
  return scalarRecord(secondsOf(line), line.step, scalarsOf(line));
}
