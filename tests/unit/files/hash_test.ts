// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileHash, keptFileHash } from "../../../lib/files/hash.ts";
import { withFolder } from "../../fixtures/folder.ts";

const BYTES = 33 * 2 ** 20;

/** A large file of zeros but for one byte, last written long ago; the last change of its inode is now all the same. */
async function writeLarge(path: string, last: number): Promise<void> {
  await Deno.writeFile(path, new Uint8Array(BYTES));
  using file = await Deno.open(path, { write: true });
  await file.seek(-1, Deno.SeekMode.End);
  await file.write(Uint8Array.of(last));
}

Deno.test("keptFileHash() reads a large file once, anew when it changed, and never trusts one that is fresh", async () => {
  await withFolder(async (place) => {
    const [path, folder] = [join(place, "large"), join(place, "kept")];
    let reads = 0;
    const hash = () => keptFileHash(path, { folder, onRead: (bytes) => void (reads += bytes / BYTES) });
    await writeLarge(path, 1);
    const first = await hash();
    assert.equal(first, await fileHash(path));
    assert.equal(await hash(), first);
    assert.equal(reads, 2, "a file of this moment may be written to within the same tick");
    await new Promise((resolve) => setTimeout(resolve, 3100)); // times of changes may be whole seconds
    assert.equal(await hash(), first);
    assert.equal(await hash(), first);
    assert.equal(reads, 3);
    const kept = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assert.match(kept.join(), /^[0-9a-f]{40}\.json$/);
    await Deno.writeTextFile(join(folder, kept[0] as string), "{");
    assert.equal(await hash(), first);
    assert.equal(reads, 4, "what cannot be read is made anew");
    const { mtime } = await Deno.stat(path);
    await writeLarge(path, 2);
    await Deno.utime(path, mtime as Date, mtime as Date);
    assert.equal(await hash(), await fileHash(path));
    assert.notEqual(await hash(), first, "a time that was turned back hides nothing");
  });
});

Deno.test("keptFileHash() keeps nothing of small files, and works without a folder", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "small");
    await Deno.writeTextFile(path, "text");
    const expected = await fileHash(path);
    assert.equal(await keptFileHash(path, { folder }), expected);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["small"]);
    await writeLarge(path, 3);
    assert.equal(await keptFileHash(path, { folder: null }), await fileHash(path));
    assert.equal(await keptFileHash(path, { folder: join(path, "below-a-file") }), await fileHash(path));
  });
});
