// SPDX-License-Identifier: Apache-2.0
/** What a process changed in a folder, in order, as `power_loss.c` wrote it down: files and folders known by themselves, not by names. */
import { join } from "node:path";
import { buildPreload } from "./struck.ts";

/** A file, whatever its name. */
export interface FileNode {
  readonly isFolder: false;
  readonly id: number;
  /** Where what it held at the start lies; null when it is new. */
  readonly source: string | null;
  /** Changes of its bytes, all of the log. @mutates */
  changes: number;
}

/** A folder, whatever its name. */
export interface FolderNode {
  readonly isFolder: true;
  readonly id: number;
  /** At the start. */
  readonly entries: ReadonlyMap<string, DiskNode>;
  /** Names of what was in it when it was last renamed: with its new name it is whole. @mutates */
  whole: readonly string[];
}

/** What has a name on a disk. */
export type DiskNode = FileNode | FolderNode;

/** Names that one call gives and takes: null takes the name away. */
export interface NameChange {
  readonly kind: "names";
  readonly names: readonly {
    readonly folder: FolderNode;
    readonly name: string;
    readonly node: DiskNode | null;
  }[];
}

/** Bytes of a file that one call writes, or to which it is cut. */
export interface DataChange {
  readonly kind: "data";
  readonly file: FileNode;
  /** Where the bytes are written, or the size the file is given when there are none. */
  readonly at: number;
  readonly bytes: Uint8Array | null;
  /** Whether the bytes are zeros in place of lost ones. */
  readonly lost?: true;
}

/** One call. */
export type Change =
  | NameChange
  | DataChange
  | { readonly kind: "sync"; readonly node: DiskNode }
  | { readonly kind: "said"; readonly text: string };

/** What was done to a folder. */
export interface ChangeLog {
  readonly start: FolderNode;
  readonly changes: readonly Change[];
}

/** The kinds of `power_loss.c`. */
const [CREATE, WRITE, TRUNCATE, RENAME, REMOVE, MAKE_FOLDER, SYNC, SAY] = [1, 2, 3, 4, 5, 6, 7, 8];

const HEAD_BYTES = 24;

/**
 * The environment in which a process's changes are written down.
 *
 * @param folder Its real path     @param process Processes whose command line contains this are watched
 * @param log File for {@linkcode readChangeLog}
 */
export async function writingChanges(
  folder: string,
  process: string,
  log: string,
): Promise<Record<string, string>> {
  return {
    LD_PRELOAD: await buildPreload(new URL("./power_loss.c", import.meta.url)),
    POWER_FOLDER: folder,
    POWER_PROCESS: process,
    POWER_LOG: log,
  };
}

/**
 * Reads what was written down.
 *
 * @param folder As {@linkcode writingChanges} was given it
 * @param source A folder with what was in it at the start
 * @throws {Error} When a call cannot be followed
 */
export async function readChangeLog(log: string, folder: string, source: string): Promise<ChangeLog> {
  const follower = new Follower(await folderNode(source, counter()), folder);
  const bytes = await Deno.readFile(log);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length;) {
    const [kind, pathBytes] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    const moreBytes = Number(view.getBigUint64(at + 8, true));
    const number = Number(view.getBigInt64(at + 16, true));
    const path = new TextDecoder().decode(bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + pathBytes));
    const more = bytes.subarray(at + HEAD_BYTES + pathBytes, at + HEAD_BYTES + pathBytes + moreBytes);
    follower.follow(kind, path, number, more);
    at += HEAD_BYTES + pathBytes + moreBytes;
  }
  return { start: follower.start, changes: follower.changes };
}

type Counter = () => number;

function counter(): Counter {
  let next = 0;
  return () => next++;
}

async function folderNode(source: string, nextId: Counter): Promise<FolderNode> {
  const entries = new Map<string, DiskNode>();
  for await (const { name, isDirectory } of Deno.readDir(source)) {
    const path = join(source, name);
    const file = { isFolder: false, id: nextId(), source: path, changes: 0 } as const;
    entries.set(name, isDirectory ? await folderNode(path, nextId) : file);
  }
  return { isFolder: true, id: nextId(), entries, whole: [] };
}

/** Follows calls by path, as a system that never loses power. */
class Follower {
  readonly changes: Change[] = [];
  readonly start: FolderNode;
  readonly #root: string;
  readonly #now = new Map<FolderNode, Map<string, DiskNode>>();
  #nextId = 1_000_000;

  constructor(start: FolderNode, root: string) {
    this.start = start;
    this.#root = root;
  }

  follow(kind: number, path: string, number: number, more: Uint8Array): void {
    switch (kind) {
      case CREATE:
        return this.#name(path, { isFolder: false, id: this.#nextId++, source: null, changes: 0 });
      case MAKE_FOLDER:
        return this.#name(path, { isFolder: true, id: this.#nextId++, entries: new Map(), whole: [] });
      case WRITE:
        return this.#data(path, number, more.slice());
      case TRUNCATE:
        return this.#data(path, number, null);
      case RENAME:
        return this.#rename(path, new TextDecoder().decode(more));
      case REMOVE:
        return this.#name(path, null);
      case SYNC: {
        const node = this.#find(path);
        if (node !== null) this.changes.push({ kind: "sync", node });
        return;
      }
      case SAY:
        this.changes.push({ kind: "said", text: new TextDecoder().decode(more) });
        return;
      default:
        throw new Error(`A call of kind ${kind} on ${path} cannot be followed`);
    }
  }

  #entries(folder: FolderNode): Map<string, DiskNode> {
    const known = this.#now.get(folder) ?? new Map(folder.entries);
    this.#now.set(folder, known);
    return known;
  }

  #find(path: string): DiskNode | null {
    let node: DiskNode | undefined = this.start;
    for (const name of path.slice(this.#root.length).split("/").filter((part) => part !== "")) {
      node = node?.isFolder ? this.#entries(node).get(name) : undefined;
    }
    return node ?? null;
  }

  #place(path: string): { folder: FolderNode; name: string } {
    const at = path.lastIndexOf("/");
    const folder = this.#find(path.slice(0, at));
    if (!folder?.isFolder) throw new Error(`${path} was changed, whose folder is not known`);
    return { folder, name: path.slice(at + 1) };
  }

  #change(names: NameChange["names"]): void {
    for (const { folder, name, node } of names) {
      if (node === null) this.#entries(folder).delete(name);
      else this.#entries(folder).set(name, node);
    }
    this.changes.push({ kind: "names", names });
  }

  #name(path: string, node: DiskNode | null): void {
    // What another process made, which is not watched, is not known.
    if (node === null && this.#find(path) === null) return;
    this.#change([{ ...this.#place(path), node }]);
  }

  #rename(from: string, to: string): void {
    const node = this.#find(from);
    if (node === null) throw new Error(`${from} was renamed, which is not known`);
    if (node.isFolder) node.whole = [...this.#entries(node).keys()];
    this.#change([{ ...this.#place(from), node: null }, { ...this.#place(to), node }]);
  }

  #data(path: string, at: number, bytes: Uint8Array | null): void {
    const file = this.#find(path);
    if (file === null || file.isFolder) throw new Error(`${path} was written to, which is not known`);
    file.changes++;
    this.changes.push({ kind: "data", file, at, bytes });
  }
}
