// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileHash, keptFileHash } from "../../../lib/files/hash.ts";
import { type FileState, isSameFile, isSameState, stateOf } from "../../../lib/files/state.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** The smallest file whose hash is kept. */
const BYTES = 32 * 2 ** 20;

/** A file of zeros but for its last byte. */
async function writeLarge(path: string, last: number, bytes = BYTES): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  await file.truncate(bytes - 1);
  await file.seek(0, Deno.SeekMode.End);
  await file.write(Uint8Array.of(last));
}

/** Does something as if it were so long after the last change of a file. */
async function later<T>(path: string, ms: number, work: () => Promise<T>): Promise<T> {
  const { now } = Date;
  const { mtime, ctime } = await Deno.stat(path);
  const changed = Math.max(mtime?.getTime() ?? 0, ctime?.getTime() ?? 0);
  Date.now = () => changed + ms;
  try {
    return await work();
  } finally {
    Date.now = now;
  }
}

/** Waits until the file system's clock has gone on since the last change of a file. */
async function nextTick(path: string): Promise<void> {
  const changedMs = async (of: string) => (await Deno.stat(of)).ctime?.getTime();
  const before = await changedMs(path);
  do {
    await new Promise((resolve) => setTimeout(resolve, 5));
    await Deno.writeTextFile(`${path}.probe`, "");
  } while (await changedMs(`${path}.probe`) === before);
}

/** SHA-256 by another implementation. */
async function plainHash(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name);

Deno.test("fileHash() is of every byte: the first, the last, and those around the end of each piece that is read", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    const bytes = new Uint8Array(2 * 2 ** 20 + 100).map((_, i) => i * 7 + (i >> 8));
    const seen = new Set<string>();
    for (const place of [-1, 0, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 50, 2 * 2 ** 20, bytes.length - 1]) {
      const other = bytes.slice();
      if (place >= 0) other[place] = (other[place] as number) ^ 1;
      await Deno.writeFile(path, other);
      const hash = await fileHash(path);
      assert.equal(hash, await plainHash(other), `byte ${place}`);
      seen.add(hash);
    }
    for (const length of [0, 1, 2 ** 20, 2 ** 20 + 1]) {
      await Deno.writeFile(path, bytes.subarray(0, length));
      assert.equal(await fileHash(path), await plainHash(bytes.slice(0, length)), `${length} bytes`);
    }
    assert.equal(seen.size, 7);
  }));

Deno.test("keptFileHash() reads a large file once, anew when it changed, and never trusts one that is fresh", async () => {
  await withFolder(async (place) => {
    const [path, folder] = [join(place, "large"), join(place, "kept")];
    let reads = 0;
    const onRead = (bytes: number) => void (reads += bytes / BYTES);
    const hash = (ms = 0) => later(path, ms, () => keptFileHash(path, { folder, onRead }));
    await writeLarge(path, 1);
    const first = await hash();
    assert.equal(first, await fileHash(path));
    assert.equal(await hash(), first);
    assert.equal(reads, 2, "a file of this moment may be written to within the same tick");
    await hash(2000);
    assert.equal(reads, 3, "times of changes may be whole seconds");
    assert.equal(await hash(2001), first);
    assert.equal(await hash(), first);
    assert.equal(reads, 4);
    const kept = namesIn(folder);
    assert.match(kept.join(), /^[0-9a-f]{40}\.json$/);
    const record = join(folder, kept[0] as string);
    const { state } = JSON.parse(await Deno.readTextFile(record));
    for (const damaged of ["{", "[]", JSON.stringify({ state, sha256: "0" }), JSON.stringify({ state })]) {
      await Deno.writeTextFile(record, damaged);
      assert.equal(await hash(), first);
    }
    assert.equal(reads, 8, "what cannot be read is made anew");
    await hash(2001);
    const { mtime } = await Deno.stat(path);
    await nextTick(path);
    await writeLarge(path, 2);
    await Deno.utime(path, mtime as Date, mtime as Date);
    assert.equal(await hash(), await fileHash(path));
    assert.notEqual(await hash(), first, "a time that was turned back hides nothing");
  });
});

Deno.test("keptFileHash() keeps the hashes of files of one name apart, and none of a file that changes while it is read", () =>
  withFolder(async (place) => {
    const folder = join(place, "kept");
    const paths = ["a", "b"].map((name) => join(place, name, "model.safetensors"));
    let reads = 0;
    const onRead = () => void reads++;
    for (const [i, path] of paths.entries()) {
      await Deno.mkdir(join(path, ".."));
      await writeLarge(path, i);
    }
    const hashes = () => Promise.all(paths.map((path) => keptFileHash(path, { folder, onRead })));
    const [a, b] = await later(paths[1] as string, 3100, hashes);
    assert.notEqual(a, b);
    assert.deepEqual(await hashes(), [a, b]);
    assert.equal(reads, 2);
    const [path = ""] = paths;
    await writeLarge(path, 7);
    const write = () => Deno.writeFileSync(path, Uint8Array.of(9), { append: true });
    await later(path, 3100, () => keptFileHash(path, { folder, onRead: write }));
    assert.equal(await keptFileHash(path, { folder, onRead }), await fileHash(path));
    assert.equal(reads, 3);
  }));

Deno.test("keptFileHash() keeps nothing of small files, works without a folder, and removes old left-overs of its own", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "small");
    await writeLarge(path, 1, BYTES - 1);
    const told: number[] = [];
    const onRead = (bytes: number) => void told.push(bytes);
    assert.equal(await later(path, 3100, () => keptFileHash(path, { folder, onRead })), await fileHash(path));
    assert.deepEqual([namesIn(folder), told], [["small"], []]);
    await writeLarge(path, 3);
    assert.equal(await keptFileHash(path, { folder: null, onRead }), await fileHash(path));
    assert.equal(await keptFileHash(path, { folder: join(path, "below-a-file") }), await fileHash(path));
    assert.deepEqual(told, [BYTES]);
    const part = (name: string) => `.${name}.01234567-89ab-4def-8123-456789abcdef.part`;
    const [ours, foreign] = [part(`${"0".repeat(40)}.json`), part("notes.json")];
    const kept = join(folder, "kept");
    await Deno.mkdir(kept);
    for (const name of [ours, foreign]) await Deno.writeTextFile(join(kept, name), "");
    const keptNames = async (ms: number) => {
      await later(join(kept, ours), ms, () => keptFileHash(path, { folder: kept }));
      await writeLarge(path, 4);
      return namesIn(kept).filter((name) => name.startsWith(".")).sort();
    };
    assert.deepEqual(await keptNames(60 * 60_000), [ours, foreign].sort());
    assert.deepEqual(await keptNames(60 * 60_000 + 1), [foreign]);
  });
});

Deno.test("isSameState() is of every part of what the system says of a file", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    await Deno.writeTextFile(path, "12345");
    const found = await Deno.stat(path);
    const state = stateOf(found);
    assert.deepEqual(state, {
      device: found.dev,
      inode: found.ino,
      bytes: 5,
      writtenMs: found.mtime?.getTime(),
      changedMs: found.ctime?.getTime(),
    });
    const { mtime, ctime } = { mtime: new Date(1000), ctime: new Date(2000) };
    assert.deepEqual(Object.values(stateOf({ ...found, mtime, ctime })).slice(3), [1000, 2000]);
    assert.deepEqual(Object.values(stateOf({ ...found, mtime: null, ctime: null })).slice(3), [null, null]);
    assert.ok(isSameState(state, { ...state }) && isSameFile(state, { ...state }));
    for (const name of Object.keys(state) as (keyof FileState)[]) {
      const other: FileState = { ...state, [name]: -1 };
      assert.equal(isSameState(state, other), false, name);
      assert.equal(isSameFile(state, other), name === "changedMs", name);
    }
  }));
