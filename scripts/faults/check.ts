// SPDX-License-Identifier: Apache-2.0
/** What must hold after a fault: of what was said, of what lies on the disk, and of how the work ends when it goes on. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { isJsonObject } from "../../lib/core/json.ts";
import { checkpointProblems } from "../../lib/train/checkpoint.ts";
import { filesBelow } from "../folders.ts";
import type { Ended, FileCall } from "./struck.ts";

/** What the C library says of the error numbers that are injected. */
const REASONS: ReadonlyMap<number, string> = new Map([
  [4, "Interrupted system call"],
  [5, "Input/output error"],
  [12, "Cannot allocate memory"],
  [13, "Permission denied"],
  [16, "Device or resource busy"],
  [24, "Too many open files"],
  [28, "No space left on device"],
  [30, "Read-only file system"],
]);

/** Of those, the ones that another path or permission mends: the exit code is 2, else 1. */
const MISTAKES: readonly number[] = [13, 30];

/** Calls whose failure Deno passes over in silence: it ends the list of a folder where the next entry cannot be read. */
const UNTOLD: readonly string[] = ["entry"];

/** The names that files and folders have until they are whole, without what marks them. */
const FINAL_NAMES: readonly (readonly [RegExp, string])[] = [
  [/\.([^/]+)\.[0-9a-f-]{36}\.part/g, "$1"],
  [/\.(step-\d+)\.partial/g, "$1"],
];

/** A path with the names that unfinished files are going to have. */
export function finalPath(path: string): string {
  return FINAL_NAMES.reduce((text, [pattern, name]) => text.replaceAll(pattern, name), path);
}

/** Whether a command says of an error number that it came up. */
export function tells({ stdout, stderr }: Ended, errno: number): boolean {
  const reason = REASONS.get(errno);
  return [stdout, stderr].some((text) =>
    text.includes(`(os error ${errno})`) || (reason !== undefined && text.includes(reason))
  );
}

/** What is wrong with the end of a process that nothing killed: one clear message where it failed, and no other. */
export function endProblems(ended: Ended): string[] {
  const { code, signal, stderr, hung } = ended;
  if (hung) return ["it hung"];
  if (signal !== null) return [`it died of ${signal}: ${lastLine(stderr)}`];
  if (![0, 1, 2].includes(code)) return [`it ended with ${code}: ${lastLine(stderr)}`];
  if (/^\s+at .+:\d+:\d+|Uncaught|panicked at/m.test(stderr)) {
    return [`it shows a stack: ${firstLine(stderr)}`];
  }
  if (code === 0) return [];
  const message = messageOf(ended);
  if (message === "") return [`it ended with ${code} and no word`];
  const isOne = !message.includes("\n") || /^.* has \d+ problems?:\n(\s+- .*\n?)+$/.test(message);
  return isOne ? [] : [`its error has ${message.split("\n").length} lines: ${firstLine(message)}`];
}

/** What a command that failed says of it. */
function messageOf({ stderr }: Ended): string {
  return stderr.split("\n").filter((line) => !line.startsWith("Warning: ")).join("\n").trim();
}

/**
 * What is wrong with the message of a command that failed as a call was made to fail: it names path and first cause, and the
 * exit code says whose fault it is. That of a study with a failed cell is 1.
 */
export function messageProblems(ended: Ended, call: FileCall, errno: number): string[] {
  if (UNTOLD.includes(call.kind)) return [];
  const message = messageOf(ended);
  const problems: string[] = [];
  const ofCell = /^\d+ of \d+ cells failed; /.test(message);
  const code = MISTAKES.includes(errno) && !ofCell ? 2 : 1;
  if (ended.code !== code) {
    problems.push(`it ended with ${ended.code}, expected ${code}: ${firstLine(message)}`);
  }
  if (!tells(ended, errno)) {
    problems.push(`the cause (${REASONS.get(errno)}) is not named: ${firstLine(message)}`);
  }
  const parts = finalPath(call.path).split("/");
  const above = parts.map((_, i) => parts.slice(0, i + 1).join("/"));
  if (call.path !== "" && !above.some((path) => message.includes(path))) {
    problems.push(`the path (${finalPath(call.path)}) is not named: ${firstLine(message)}`);
  }
  return problems;
}

/** Checkpoints that were said to be saved, and are neither whole nor given up for newer ones. */
export async function announcedProblems(folder: string, { stdout }: Ended): Promise<string[]> {
  const announced = [...stdout.matchAll(/saved (\S*step-\d+)/g)].map(([, path]) => path as string);
  const newest = announced.at(-1);
  if (newest === undefined) return [];
  return (await checkpointProblems(join(folder, newest))).map((problem) =>
    `${newest} was said to be saved: ${problem}`
  );
}

/** What is half-written under a name that says it is whole. */
export async function halfWritten(folder: string, whole: Snapshot): Promise<string[]> {
  const problems: string[] = [];
  const checkpoints = new Set<string>();
  for (const path of await filesBelow(folder)) {
    if (path.split("/").some((name) => name.startsWith("."))) continue;
    const checkpoint = /^.*\/step-\d+(?=\/)/.exec(path)?.[0];
    if (checkpoint !== undefined) checkpoints.add(checkpoint);
    const { fixed } = kindOf(path);
    const content = await contentOf(folder, path);
    const expected = whole.get(keyOf(path));
    if (content === null) problems.push(`${path} is cut off`);
    else if (fixed && expected !== undefined && content !== expected) {
      problems.push(`${path} is not what it will be`);
    }
  }
  for (const path of checkpoints) {
    problems.push(...(await checkpointProblems(join(folder, path))).map((problem) => `${path}: ${problem}`));
  }
  return problems;
}

/** The files of a folder, each with what of it does not depend on time: null where it is cut off. */
export type Snapshot = ReadonlyMap<string, string | null>;

/** Takes a snapshot. @param writtenIn Where files were before that were copied here */
export async function snapshot(folder: string, writtenIn: string = folder): Promise<Snapshot> {
  const entries = await Promise.all(
    (await filesBelow(folder)).map(async (path) =>
      [keyOf(path), await contentOf(folder, path, writtenIn)] as const
    ),
  );
  return new Map(entries);
}

/** Unfinished files that other processes may be writing, by no lock: `report`'s, and the cache's. They go an hour later. */
const SHARED =
  /(^|\/)\.((report\.html|\.metrics-index\.json)\.[0-9a-f-]{36}\.part|events\.out\.tfevents)$|^cache\/.*\.part$/;

/** How a folder differs from the undisturbed one. Files that match `optional` may differ, and be missing. */
export function differences(whole: Snapshot, found: Snapshot, optional: RegExp | null): string[] {
  const problems: string[] = [];
  for (const [path, content] of whole) {
    if (optional?.test(path)) continue;
    if (!found.has(path)) problems.push(`${path} is missing`);
    else if (found.get(path) !== content) problems.push(`${path} is not as without the fault`);
  }
  for (const path of found.keys()) {
    if (!whole.has(path) && !optional?.test(path) && !SHARED.test(path)) {
      problems.push(`${path} is left over`);
    }
  }
  return problems;
}

/** How files of a name are compared: as they are, or by what of them does not depend on time. */
interface FileKind {
  readonly pattern: RegExp;
  /** Whether it is the same at any time after it is there. */
  readonly fixed: boolean;
  /** What is compared; null when it is cut off. */
  read(text: string): unknown;
}

const IS_THERE = "is there";
const LOGGED = ["step", "loss", "evalLoss", "lr", "gradNorm", "tokens", "targets"];
const TIMES = ["seconds", "tokensPerSecond", "scoringSeconds", "peakBytes", "bytes"];

const KINDS: readonly FileKind[] = [
  {
    pattern: /report\.html$/,
    fixed: false,
    read: (text) => text.trimEnd().endsWith("</html>") ? IS_THERE : null,
  },
  { pattern: /metrics\.jsonl$/, fixed: false, read: (text) => lines(text).map((line) => pick(line, LOGGED)) },
  { pattern: /results\.jsonl$/, fixed: false, read: (text) => strictLines(text)?.map(withoutTimes) ?? null },
  { pattern: /results\.csv$/, fixed: false, read: tableWithoutTimes },
  { pattern: /(run|study)\.json$/, fixed: false, read: (text) => isJson(text) ? IS_THERE : null },
  { pattern: /\.tokens$|tfevents/, fixed: false, read: () => IS_THERE },
  { pattern: /answers\.jsonl$/, fixed: true, read: strictLines },
  { pattern: /examples\.json$/, fixed: false, read: (text) => isJson(text) ? IS_THERE : null },
];
const AS_IT_IS: FileKind = { pattern: /^/, fixed: true, read: (text) => text };

function kindOf(path: string): FileKind {
  return KINDS.find(({ pattern }) => pattern.test(path)) ?? AS_IT_IS;
}

/** A path without what depends on time. */
function keyOf(path: string): string {
  return path.replace(/tfevents\..*$/, "tfevents");
}

async function contentOf(folder: string, path: string, writtenIn: string = folder): Promise<string | null> {
  const bytes = await Deno.readFile(join(folder, path));
  const kind = kindOf(path);
  // Runs write down where they were: each trial is in a folder of its own.
  const text = new TextDecoder("latin1").decode(bytes).replaceAll(folder, "").replaceAll(writtenIn, "");
  const content = kind.read(text);
  return content === null ? null : createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

/** Whether a text is JSON. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Objects of all lines that are whole: the last of a log may be cut off. */
function lines(text: string): Record<string, unknown>[] {
  return text.split("\n").filter(isJson).map((line) => JSON.parse(line));
}

/** Objects of all lines; null when one is cut off. */
function strictLines(text: string): Record<string, unknown>[] | null {
  const found = lines(text);
  return text.split("\n").length === found.length + 1 && text.endsWith("\n") ? found : null;
}

function pick(line: Record<string, unknown>, names: readonly string[]): unknown[] {
  return names.map((name) => line[name] ?? null);
}

function withoutTimes(line: Record<string, unknown>): unknown {
  const numbers = isJsonObject(line["numbers"]) ? line["numbers"] : {};
  return { ...line, numbers: Object.entries(numbers).filter(([name]) => !TIMES.includes(name)) };
}

function tableWithoutTimes(text: string): unknown {
  if (!text.endsWith("\n")) return null;
  const rows = text.trimEnd().split("\n").map((line) => line.split(","));
  const kept = (rows[0] ?? []).map((name, i) => TIMES.includes(name) ? -1 : i).filter((i) => i >= 0);
  return rows.map((row) => kept.map((i) => row[i]));
}

function firstLine(text: string): string {
  return JSON.stringify(text.trim().split("\n")[0]?.slice(0, 300));
}

function lastLine(text: string): string {
  return JSON.stringify(text.trim().split("\n").at(-1)?.slice(0, 300));
}
