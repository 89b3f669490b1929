// SPDX-License-Identifier: Apache-2.0
/**
 * What a loss of power may leave on a disk. What was waited for is there: of a file its bytes once the file was synced, of a
 * name once its folder was. Of all else any part may be there, in any order: that is all that POSIX says.
 */
import { dirname, join } from "node:path";
import { nextIntegerBelow, nextUniform, type RandomStream } from "../../lib/core/rng.ts";
import type { ChangeLog, DataChange, DiskNode, FileNode, FolderNode, NameChange } from "./change_log.ts";

/** A change that may or may not be on the disk. */
export type Pending = NameChange | DataChange;

/** What became of a change: of one that makes a file longer, the length may be there and the bytes not. */
export type Outcome = "there" | "lost" | "zeros";

/** A moment at which power is lost. */
export interface CrashPoint {
  /** Changes of the log that were made. */
  readonly at: number;
  /** What the process had said by then. */
  readonly said: string;
  readonly settled: DiskState;
  readonly pending: readonly Pending[];
}

/** What is on a disk. */
export interface DiskState {
  readonly root: FolderNode;
  /** Entries of folders that are not as at the start. */
  readonly entries: ReadonlyMap<FolderNode, ReadonlyMap<string, DiskNode>>;
  /** Changes of files that are there, in order. */
  readonly data: ReadonlyMap<FileNode, readonly DataChange[]>;
}

/** A file of a state, by its path from the root. */
export interface StateFile {
  readonly path: string;
  readonly file: FileNode;
}

/** Each moment of a log, from before its first call to after its last. What it yields is good until the next. */
export function* crashPoints({ start, changes }: ChangeLog): Generator<CrashPoint> {
  const settled = {
    root: start,
    entries: new Map<FolderNode, Map<string, DiskNode>>(),
    data: new Map<FileNode, DataChange[]>(),
  };
  let pending: { change: Pending; waits: Set<DiskNode> }[] = [];
  let said = "";
  const point = (at: number): CrashPoint => ({
    at,
    said,
    settled,
    pending: pending.map(({ change }) => change),
  });
  yield point(0);
  for (const [i, change] of changes.entries()) {
    if (change.kind === "said") said += change.text;
    else if (change.kind === "sync") {
      for (const { change: waiting, waits } of pending) {
        if (waits.delete(change.node) && waits.size === 0) apply(settled, waiting);
      }
      const reached = reachable(settled, pending.map(({ change }) => change));
      pending = pending.filter(({ change, waits }) =>
        waits.size > 0 && targetsOf(change).some((node) => reached.has(node))
      );
    } else {
      pending.push({ change, waits: new Set(targetsOf(change)) });
    }
    yield point(i + 1);
  }
}

/** What a change is in. */
function targetsOf(change: Pending): DiskNode[] {
  return change.kind === "data" ? [change.file] : change.names.map(({ folder }) => folder);
}

/** What may have a name: of the contents of what was removed nobody will know. */
function reachable(state: DiskState, pending: readonly Pending[]): Set<DiskNode> {
  const reached = new Set<DiskNode>();
  const visit = (node: DiskNode): void => {
    reached.add(node);
    if (node.isFolder) { for (const inner of entriesOf(state, node).values()) visit(inner); }
  };
  visit(state.root);
  for (const change of pending) {
    if (change.kind !== "names") continue;
    for (const { node } of change.names) if (node !== null) visit(node);
  }
  return reached;
}

interface MutableState extends DiskState {
  readonly entries: Map<FolderNode, Map<string, DiskNode>>;
  readonly data: Map<FileNode, DataChange[]>;
}

/** @mutates state */
function apply({ entries, data }: MutableState, change: Pending): void {
  if (change.kind === "data") {
    const known = data.get(change.file);
    if (known === undefined) data.set(change.file, [change]);
    else known.push(change);
    return;
  }
  for (const { folder, name, node } of change.names) {
    const known = entries.get(folder) ?? new Map(folder.entries);
    entries.set(folder, known);
    if (node === null) known.delete(name);
    else known.set(name, node);
  }
}

/** The state in which each pending change became what is said. */
export function stateOf({ settled, pending }: CrashPoint, outcomes: readonly Outcome[]): DiskState {
  const state: MutableState = {
    root: settled.root,
    entries: new Map([...settled.entries].map(([folder, names]) => [folder, new Map(names)])),
    data: new Map([...settled.data].map(([file, changes]) => [file, [...changes]])),
  };
  pending.forEach((change, i) => {
    if (outcomes[i] === "there") apply(state, change);
    else if (outcomes[i] === "zeros" && change.kind === "data" && change.bytes !== null) {
      apply(state, { ...change, bytes: new Uint8Array(change.bytes.length), lost: true });
    }
  });
  return state;
}

/** Outcomes worth a look: all and none, all but one, one alone, the first ones, and some by chance. */
export function* outcomesOf(
  { pending }: CrashPoint,
  random: RandomStream,
  byChance: number,
): Generator<Outcome[]> {
  const count = pending.length;
  const each = (outcome: (i: number) => Outcome): Outcome[] =>
    Array.from({ length: count }, (_, i) => outcome(i));
  yield each(() => "there");
  if (count === 0) return;
  yield each(() => "lost");
  yield each(() => "zeros");
  for (let one = 0; one < count; one++) {
    yield each((i) => i === one ? "lost" : "there");
    yield each((i) => i === one ? "zeros" : "there");
    yield each((i) => i === one ? "there" : "lost");
    yield each((i) => i < one ? "there" : "lost");
  }
  for (let n = 0; n < byChance; n++) {
    const share = nextUniform(random);
    yield each(() =>
      nextUniform(random) < share ? "there" : nextIntegerBelow(random, 4) === 0 ? "zeros" : "lost"
    );
  }
}

/** Entries of a folder. */
export function entriesOf({ entries }: DiskState, folder: FolderNode): ReadonlyMap<string, DiskNode> {
  return entries.get(folder) ?? folder.entries;
}

/** What has a path; null when nothing has. */
export function nodeAt(state: DiskState, path: string): DiskNode | null {
  let node: DiskNode | undefined = state.root;
  for (const name of path.split("/")) node = node?.isFolder ? entriesOf(state, node).get(name) : undefined;
  return node ?? null;
}

/** All files, by path. */
export function* filesOf(
  state: DiskState,
  folder: FolderNode = state.root,
  prefix = "",
): Generator<StateFile> {
  for (const [name, node] of entriesOf(state, folder)) {
    if (node.isFolder) yield* filesOf(state, node, `${prefix}${name}/`);
    else yield { path: `${prefix}${name}`, file: node };
  }
}

/** All folders below the root, by path. */
export function foldersOf(
  state: DiskState,
  folder: FolderNode = state.root,
  prefix = "",
): { readonly path: string; readonly folder: FolderNode }[] {
  return [...entriesOf(state, folder)].flatMap(([name, node]) => {
    const path = `${prefix}${name}`;
    return node.isFolder ? [{ path, folder: node }, ...foldersOf(state, node, `${path}/`)] : [];
  });
}

/** Whether all that was ever written to a file is there. */
export function isWhole({ data }: DiskState, file: FileNode): boolean {
  const there = data.get(file) ?? [];
  return there.length === file.changes && there.every(({ lost }) => !lost);
}

/** The bytes of a file. */
export async function bytesOf({ data }: DiskState, file: FileNode): Promise<Uint8Array> {
  let bytes = file.source === null ? new Uint8Array() : await Deno.readFile(file.source);
  for (const { at, bytes: written } of data.get(file) ?? []) {
    if (written === null) bytes = resized(bytes, at);
    else {
      if (bytes.length < at + written.length) bytes = resized(bytes, at + written.length);
      bytes.set(written, at);
    }
  }
  return bytes;
}

function resized(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(length);
  out.set(bytes.subarray(0, length));
  return out;
}

/** Writes a state into a new folder. */
export async function writeState(state: DiskState, to: string): Promise<void> {
  const folders = async (folder: FolderNode, path: string): Promise<void> => {
    await Deno.mkdir(path, { recursive: true });
    for (const [name, node] of entriesOf(state, folder)) {
      if (node.isFolder) await folders(node, join(path, name));
    }
  };
  await folders(state.root, to);
  for (const { path, file } of filesOf(state)) {
    await Deno.mkdir(dirname(join(to, path)), { recursive: true });
    await Deno.writeFile(join(to, path), await bytesOf(state, file));
  }
}
