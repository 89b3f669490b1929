// SPDX-License-Identifier: Apache-2.0
/** What is said to be written is on the disk, names included, and nothing gets its name before it is. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { copyFile, makeFolder, moveInto, syncFolder } from "../../../lib/files/folders.ts";
import { openToAppend, writeFileAtomically, writeTextAtomically } from "../../../lib/files/write.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { testDurable, withWatchedDisk } from "../../fixtures/watched_disk.ts";

testDurable(
  "writeTextAtomically() syncs the bytes, gives them their name, then syncs the folder",
  async (folder, disk) => {
    const path = join(folder, "a.txt");
    const moves: string[] = [];
    disk.onMove = (to) => void moves.push(to);
    for (const text of ["first", "second"]) {
      await writeTextAtomically(path, text);
      assert.deepEqual(disk.lost(folder), []);
      assert.equal(await Deno.readTextFile(path), text);
    }
    assert.deepEqual(moves, [path, path]);
  },
);

testDurable(
  "writeFileAtomically() syncs what was written in many pieces after the last of them",
  (folder) =>
    writeFileAtomically(join(folder, "a"), null, async (write) => {
      for (let i = 0; i < 3; i++) await write(new Uint8Array(10));
    }),
);

testDurable("makeFolder() makes every folder above durable too", async (folder, disk) => {
  await makeFolder(join(folder, "a", "b", "c"));
  assert.deepEqual(disk.lost(folder), []);
  await makeFolder(join(folder, "a", "b", "d"));
});

testDurable(
  "moveInto() syncs the folder that it moves into, and the one it moves out of",
  async (folder, disk) => {
    for (const name of ["from", "to"]) await makeFolder(join(folder, name));
    await writeTextAtomically(join(folder, "from", "a"), "text");
    await moveInto(join(folder, "from", "a"), join(folder, "to", "a"));
    assert.deepEqual(disk.lost(folder), []);
    await moveInto(join(folder, "to"), join(folder, "other"));
  },
);

testDurable(
  "copyFile() syncs the bytes, and leaves the name to whoever syncs the folder",
  async (folder, disk) => {
    await Deno.mkdir(join(folder, "to"));
    await syncFolder(folder);
    await writeTextAtomically(join(folder, "a"), "text");
    const copy = join(folder, "to", "a");
    await copyFile(join(folder, "a"), copy);
    assert.deepEqual(disk.lost(folder), [`the name ${copy}`]);
    await syncFolder(join(folder, "to"));
  },
);

testDurable(
  "openToAppend() makes the file's name durable, and sync() what was appended and cut",
  async (folder, disk) => {
    const path = join(folder, "log");
    for (let time = 0; time < 2; time++) {
      using file = await openToAppend(path);
      assert.deepEqual(disk.lost(folder), []);
      const changes = [
        () => file.append(Uint8Array.of(1, 2)),
        () => file.appendSync(Uint8Array.of(3, 4)),
        () => file.cut(3),
      ];
      for (const change of changes) {
        await change();
        assert.deepEqual(disk.lost(folder), [`bytes of ${path}`]);
        await file.sync();
        assert.deepEqual(disk.lost(folder), []);
      }
    }
    assertSame(await Deno.readFile(path), Uint8Array.of(1, 2, 3));
  },
);

Deno.test("withWatchedDisk() misses no sync that is left out, and no name that is given too early", () =>
  withFolder((folder) =>
    withWatchedDisk(async (disk) => {
      const [part, path] = [join(folder, "part"), join(folder, "whole")];
      {
        using file = await Deno.open(part, { write: true, createNew: true });
        await file.write(Uint8Array.of(1));
      }
      await Deno.rename(part, path);
      assert.deepEqual(disk.early, [`bytes of ${part}, when it became ${path}`]);
      assert.deepEqual(disk.lost(folder), [`bytes of ${path}`, `the name ${path}`]);
      await syncFolder(folder);
      assert.deepEqual(disk.lost(folder), [`bytes of ${path}`]);
      await Deno.mkdir(join(folder, "a"));
      await Deno.rename(path, join(folder, "a", "whole"));
      await syncFolder(join(folder, "a"));
      assert.deepEqual(disk.lost(folder), [
        `bytes of ${join(folder, "a", "whole")}`,
        `the name ${join(folder, "a")}`,
        `that ${path} is gone`,
      ]);
    })
  ));
