// SPDX-License-Identifier: Apache-2.0
/** Folders, left-overs, room on the disk, and what is said when a file operation fails. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { MachineError, UserError } from "../../../lib/core/errors.ts";
import { assertRoom, freeBytes } from "../../../lib/files/disk.ts";
import {
  asFileError,
  named,
  namedSync,
  problemOf,
  saysForbidden,
  saysNotFound,
} from "../../../lib/files/errors.ts";
import {
  claimFolder,
  leadsTo,
  lockFolder,
  makeFolder,
  remove,
  removeIfThere,
  removeQuietly,
  touchQuietly,
} from "../../../lib/files/folders.ts";
import {
  describeLeftOvers,
  describeUnremoved,
  joinLeftOvers,
  removeLeftOvers,
} from "../../../lib/files/leftovers.ts";
import * as read from "../../../lib/files/read.ts";
import { UNFINISHED, unfinishedPath } from "../../../lib/files/write.ts";
import { withFolder } from "../../fixtures/folder.ts";

const osError = (number: number) => new Error(`What happened (os error ${number}): open '/passing/name'`);

Deno.test("asFileError() tells what another path mends from what the machine does, with a way out", () => {
  const said = (error: unknown, bytesNeeded: number | null = null): string => {
    const made = asFileError(error, "write", "/a/b", { bytesNeeded });
    assert.ok(made instanceof MachineError || made instanceof UserError, `${made}`);
    assert.equal(made.cause, error);
    return `${made.name}: ${made.message}`;
  };
  for (const number of [4, 5, 11, 16, 26, 110, 116, 117, 121]) {
    assert.equal(
      said(osError(number), 9),
      `MachineError: Cannot write /a/b: What happened (os error ${number})`,
    );
  }
  const waysOut: Readonly<Record<number, string>> = {
    12: "free some memory",
    23: "close other programs, or raise the system's limit (fs.file-max)",
    24: "raise the limit on open files (ulimit -n)",
  };
  for (const [number, wayOut] of Object.entries(waysOut)) {
    const expected = `MachineError: Cannot write /a/b: What happened (os error ${number}); ${wayOut}`;
    assert.equal(said(osError(Number(number)), 9), expected);
  }
  const noRoom: Readonly<Record<number, string>> = {
    27: "raise the limit on file sizes (ulimit -f), or write to another file system",
    28: "free some space and try again",
    122: "free some space and try again",
  };
  for (const [number, wayOut] of Object.entries(noRoom)) {
    const reason = `there is no room (What happened (os error ${number})); ${wayOut}`;
    assert.equal(
      said(osError(Number(number)), 9),
      `MachineError: Cannot write /a/b: it needs 9 bytes and ${reason}`,
    );
    assert.equal(said(osError(Number(number))), `MachineError: Cannot write /a/b: ${reason}`);
  }
  for (const number of [1, 2, 13, 20, 21, 30, 36, 39]) {
    assert.equal(said(osError(number)), `UserError: Cannot write /a/b: What happened (os error ${number})`);
  }
  const all = new Deno.errors.NotCapable('Requires all access to "/proc/1", run again');
  assert.match(said(all), /^UserError: .*: \/proc, \/sys and \/dev hold no data; choose another path$/);
  const some = new Deno.errors.NotCapable('Requires write access to "/a/b", run again with --allow-write');
  assert.match(said(some), /^UserError: Cannot write \/a\/b: Requires write access .*--allow-write$/);
});

Deno.test("asFileError() leaves errors that are no file's as they are", async () => {
  for (const error of [new RangeError("no more"), new TypeError("NUL"), "text", undefined]) {
    assert.equal(asFileError(error, "read", "/a"), error);
  }
  const nul = await named("read", "/a\0b", () => Deno.stat("/a\0b")).catch((error) => error);
  assert.equal(`${nul}`, 'UserError: Cannot read "/a\\u0000b": a path holds no NUL');
  assert.throws(() => namedSync("list", "/none", () => Deno.readDirSync("/none/at/all")), {
    name: "UserError",
    message: /^Cannot list \/none: .*No such file or directory \(os error 2\)$/,
  });
});

Deno.test("saysNotFound() and saysForbidden() go by the first cause", async () => {
  const failure = (error: Error) => asFileError(error, "read", "/a");
  const absent = await named("read", "/none", () => Deno.stat("/none/at/all")).catch((error) => error);
  const denied = failure(new Deno.errors.PermissionDenied("Permission denied (os error 13)"));
  const incapable = failure(new Deno.errors.NotCapable("Requires read access"));
  const broken = failure(osError(5));
  assert.deepEqual([absent, denied, incapable, broken, "text"].map(saysNotFound), [
    true,
    false,
    false,
    false,
    false,
  ]);
  assert.deepEqual([absent, denied, incapable, broken, "text"].map(saysForbidden), [
    false,
    true,
    true,
    false,
    false,
  ]);
  assert.equal(problemOf(new UserError("what is wrong")), "what is wrong");
  assert.throws(() => problemOf(broken), broken as Error);
});

Deno.test("freeBytes() is what df says an ordinary user can write, and assertRoom() ends where it does", async () => {
  const { stdout } = await new Deno.Command("df", { args: ["--output=avail", "-B1", "/tmp"] }).output();
  const expected = Number(new TextDecoder().decode(stdout).split("\n")[1]);
  const free = await freeBytes("/tmp") as number;
  assert.ok(Math.abs(free - expected) <= 0.05 * expected, `${free} for ${expected}`); // others write meanwhile
  assert.equal(await freeBytes("/none/at/all"), null);
  for (const room of [null, 100, 101]) assertRoom("/a", 100, room);
  assert.throws(() => assertRoom("/a", 100, 99), {
    name: "MachineError",
    message: "Cannot write /a: it needs 100 bytes and the disk has 99 left; free some space and try again",
  });
});

Deno.test("folders are made where they are missing, removed where they are there, and known again", () =>
  withFolder(async (folder) => {
    const [path, file] = [join(folder, "a", "b"), join(folder, "file")];
    await makeFolder(path);
    await makeFolder(path);
    assert.ok(await read.isFolder(path) && read.isFolderSync(path));
    await Deno.writeTextFile(file, "");
    assert.equal(read.isFolderSync(file), false);
    const message = `Cannot make ${file}: what stands there is no folder; choose another path`;
    await assert.rejects(makeFolder(file), { name: "UserError", message });
    await assert.rejects(makeFolder(join(file, "b")), {
      name: "UserError",
      message: /^Cannot make .*file\/b: /,
    });
    await Deno.writeTextFile(join(path, "inner"), "");
    await removeIfThere(join(folder, "a"));
    await removeIfThere(join(folder, "a"));
    await removeIfThere(join(file, "below"));
    assert.equal(await read.isThere(path), false);
    await assert.rejects(remove(path), /^UserError: Cannot remove .*No such file/);
    await removeQuietly(path);
    await Deno.symlink(join(folder, "nothing"), join(folder, "link"));
    await removeIfThere(join(folder, "link"));
    assert.deepEqual(read.listFolderSync(folder).map(({ name }) => name), ["file"]);
    await Deno.utime(file, new Date(0), new Date(0));
    await touchQuietly(file);
    await touchQuietly(path);
    assert.ok(Date.now() - ((await Deno.stat(file)).mtime?.getTime() ?? 0) < 60_000);
  }));

Deno.test("leadsTo() says whether a path is still what was opened by it", () =>
  withFolder(async (folder) => {
    const [path, other] = [join(folder, "a"), join(folder, "b")];
    for (const made of [path, other]) await Deno.mkdir(made);
    using opened = await Deno.open(path);
    assert.equal(await leadsTo(path, opened), true);
    assert.equal(await leadsTo(other, opened), false);
    await Deno.rename(path, join(folder, "c"));
    assert.equal(await leadsTo(path, opened), false);
    await Deno.mkdir(path);
    assert.equal(await leadsTo(path, opened), false);
  }));

Deno.test("lockFolder() and claimFolder() give a folder to one at a time; without locks, to the first and to nobody", () =>
  withFolder(async (folder) => {
    for (const take of [lockFolder, claimFolder]) {
      const first = await take(folder);
      assert.ok(first !== null);
      assert.equal(await lockFolder(folder), null);
      assert.equal(await claimFolder(folder), null);
      first.close();
    }
    const { tryLock } = Deno.FsFile.prototype;
    Deno.FsFile.prototype.tryLock = () => Promise.reject(osError(95));
    try {
      using locked = await lockFolder(folder);
      assert.ok(locked !== null);
      assert.equal(await claimFolder(folder), null);
    } finally {
      Deno.FsFile.prototype.tryLock = tryLock;
    }
    await assert.rejects(lockFolder(join(folder, "none")), /^UserError: Cannot lock .*none: /);
  }));

Deno.test("removeLeftOvers() takes what is unfinished, ours, old enough and nobody's", () =>
  withFolder(async (folder) => {
    const id = "01234567-89ab-4def-8123-456789abcdef";
    const names = {
      ours: `.a.${id}.part`,
      foreign: `.b.${id}.part`,
      nearly: `a.${id}.part`,
      longer: `.a.${id}.part2`,
    };
    const write = () =>
      Promise.all(Object.values(names).map((name) => Deno.writeTextFile(join(folder, name), "")));
    const left = () => read.listFolderSync(folder).map(({ name }) => name);
    await write();
    const all = left();
    const isOurs = (name: string) => name === "a";
    const path = join(folder, names.ours);
    const none = { removed: [], failures: [] };
    assert.deepEqual(await removeLeftOvers(folder, isOurs, { minAgeMs: 60_000 }), none);
    assert.deepEqual(
      await removeLeftOvers(folder, isOurs, { claim: () => Promise.resolve(null) }),
      none,
    );
    assert.deepEqual(left(), all);
    let isReleased = false;
    const claim = () => Promise.resolve({ [Symbol.dispose]: () => void (isReleased = true) });
    assert.deepEqual(await removeLeftOvers(folder, isOurs, { claim }), { ...none, removed: [path] });
    assert.ok(isReleased);
    await write();
    const longAgo = new Date(Date.now() - 61_000);
    await Deno.utime(path, longAgo, longAgo);
    assert.deepEqual((await removeLeftOvers(folder, isOurs, { minAgeMs: 60_000 })).removed, [path]);
    assert.deepEqual(left(), all.filter((name) => name !== names.ours));
    await write();
    const failure = new UserError("it is held");
    const failed = await removeLeftOvers(folder, isOurs, { claim: () => Promise.reject(failure) });
    assert.deepEqual(failed, { removed: [], failures: [failure] });
    assert.deepEqual(await removeLeftOvers(join(folder, "none"), () => true), none);
    const wayOut = "it is no longer needed, and its removal is tried again later";
    const joined = joinLeftOvers([failed, { removed: ["x"], failures: [] }, {
      removed: ["y"],
      failures: ["text"],
    }]);
    assert.deepEqual(describeLeftOvers(joined, "a test"), [
      "removed 2 left-overs of a test: x, y",
      `it is held; ${wayOut}`,
      `text; ${wayOut}`,
    ]);
    assert.deepEqual(describeLeftOvers({ removed: ["x"], failures: [] }, "a test"), [
      "removed 1 left-over of a test: x",
    ]);
    assert.equal(describeUnremoved(failure), `it is held; ${wayOut}`);
  }));

Deno.test("unfinishedPath() is beside its place, hidden, and another each time", () => {
  const [first, second] = [unfinishedPath("/a/b.c"), unfinishedPath("/a/b.c")];
  assert.notEqual(first, second);
  assert.match(first, /^\/a\/\.b\.c\./);
  assert.equal(UNFINISHED.exec(first.slice(3))?.[1], "b.c");
});

Deno.test("makeFolder() says that no folder is there only when it has seen that; else the cause, or nothing", () =>
  withFolder(async (folder) => {
    const { mkdir, stat } = Deno;
    await Deno.mkdir(`${folder}/made`);
    await Deno.writeTextFile(`${folder}/file`, "");
    Deno.mkdir = () => Promise.reject(new Deno.errors.AlreadyExists("File exists (os error 17)"));
    try {
      await makeFolder(`${folder}/made`); // another process made it meanwhile
      await assert.rejects(makeFolder(`${folder}/file`), /file: what stands there is no folder/);
      let calls = 0;
      Deno.stat = (path) =>
        ++calls === 1 ? stat(path) : Promise.reject(new Error("Input/output error (os error 5)"));
      await assert.rejects(makeFolder(`${folder}/made`), /Input\/output error/);
    } finally {
      Object.assign(Deno, { mkdir, stat });
    }
  }));
