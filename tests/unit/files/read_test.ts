// SPDX-License-Identifier: Apache-2.0
/** Reading: limits, what is not there, lists by name; and writing into what stands there. */
import assert from "node:assert/strict";
import { join } from "node:path";
import * as read from "../../../lib/files/read.ts";
import { writeTextTo } from "../../../lib/files/write.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";

Deno.test("readText() and readBytesSync() take files up to the limit, byte-order marks off, and no others", () =>
  withFolder(async (folder) => {
    const path = join(folder, "text");
    await Deno.writeTextFile(path, "\ufeffäb");
    assert.equal(await read.readText(path), "äb");
    assert.equal(await read.readText(path, { maxBytes: 6 }), "äb");
    const message = `${path} has 6 bytes, more than the 5 that such a file may have`;
    await assert.rejects(read.readText(path, { maxBytes: 5 }), { name: "UserError", message });
    assert.equal(await read.readTextIfThere(path, { maxBytes: 6 }), "äb");
    assert.equal(await read.readTextIfThere(join(path, "none")), null);
    assert.equal(await read.readJsonIfThere(join(folder, "none")), null);
    await Deno.writeTextFile(path, "{x}");
    await assert.rejects(read.readJsonIfThere(path), { name: "UserError", message: /text is not JSON: / });
    await Deno.writeFile(path, Uint8Array.of(97, 0xff));
    await assert.rejects(read.readText(path), {
      name: "UserError",
      message: `${path} is not valid UTF-8 text`,
    });
    for (const length of [0, 1, 5000]) {
      const bytes = new Uint8Array(length).map((_, i) => i);
      await Deno.writeFile(path, bytes);
      assertSame(read.readBytesSync(path), bytes);
      const pieces: number[] = [];
      for await (const piece of read.readPieces(path, 2000)) pieces.push(...piece);
      assertSame(pieces, [...bytes]);
    }
    if (Deno.build.os !== "linux") return;
    // Files of /proc say that they have no bytes.
    const cpus = await Deno.readTextFile("/proc/cpuinfo");
    assert.equal(read.readBytesSync("/proc/cpuinfo").length, new TextEncoder().encode(cpus).length);
    assert.throws(() => read.readBytesSync("/proc/cpuinfo", 100), {
      name: "UserError",
      message: /has 101 bytes, more than the 100 that such a file may have/,
    });
  }));

Deno.test("what is not there is told from what cannot be looked at, and lists come by name", () =>
  withFolder(async (folder) => {
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "");
    assert.equal(await read.statIfThere(join(file, "below")), null);
    assert.equal(read.statIfThereSync(join(folder, "none")), null);
    const looped = join(folder, "loop");
    await Deno.symlink(looped, looped);
    await assert.rejects(read.statIfThere(looped), /^UserError: Cannot read .*loop: /);
    assert.throws(() => read.statIfThereSync(looped), /^UserError: Cannot read .*loop: /);
    assert.deepEqual([looped, file, join(folder, "none")].map(read.isThereSync), [false, true, false]);
    await assert.rejects(read.stat(join(folder, "none")), /^UserError: Cannot read .*none: /);
    assert.equal(read.realPathSync(join(folder, ".", "file")), await Deno.realPath(file));
    const names = ["b", "a10", "a9", "B", "é"];
    await Deno.mkdir(join(folder, "names"));
    for (const name of names) await Deno.writeTextFile(join(folder, "names", name), "");
    const found = (entries: Deno.DirEntry[]) => entries.map(({ name }) => name);
    const expected = ["B", "a10", "a9", "b", "é"];
    assert.deepEqual(found(await read.listFolder(join(folder, "names"))), expected);
    assert.deepEqual(found(await read.listFolderIfThere(join(folder, "names"))), expected);
    assert.deepEqual(await read.listFolderIfThere(join(folder, "none")), []);
    await assert.rejects(read.listFolder(file), /^UserError: Cannot list .*file: /);
  }));

Deno.test("writeTextTo() writes into what stands there, so that nothing is renamed into its place", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    await Deno.writeTextFile(path, "longer than what comes");
    const { ino } = await Deno.stat(path);
    await writeTextTo(path, "text");
    assert.equal(await Deno.readTextFile(path), "text");
    assert.equal((await Deno.stat(path)).ino, ino);
    await assert.rejects(writeTextTo(folder, "text"), {
      name: "UserError",
      message: /^Cannot write .*Is a directory/,
    });
  }));
