// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/files. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const FILES: readonly Mutant[] = [
  {
    name: "half-file-stays",
    harm: "a failed write leaves an unfinished file in the user's folder",
    file: "lib/files/write.ts",
    find: `    await removeQuietly(unfinished);
    throw asFileError(error, "write", path, { bytesNeeded });`,
    replace: `    throw asFileError(error, "write", path, { bytesNeeded });`,
    tests: ["tests/unit/files/write_test.ts"],
  },
  {
    name: "bytes-not-synced",
    harm: "after a loss of power a file has its name and not its bytes",
    file: "lib/files/write.ts",
    find: `    await file.sync();
`,
    replace: "",
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "synced-before-written",
    harm: "after a loss of power a file has its name and not its bytes",
    file: "lib/files/write.ts",
    find: `    await write((bytes) => writePieces(file, bytes));
    await file.sync();
`,
    replace: `    await file.sync();
    await write((bytes) => writePieces(file, bytes));
`,
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "new-name-not-synced",
    harm: "after a loss of power a file that was said to be written is not there",
    file: "lib/files/folders.ts",
    find: `  await syncFolder(dirname(to));
`,
    replace: "",
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "synced-before-renamed",
    harm: "after a loss of power a file that was said to be written is not there",
    file: "lib/files/folders.ts",
    find: `export async function moveInto(from: string, to: string): Promise<void> {
`,
    replace: `export async function moveInto(from: string, to: string): Promise<void> {
  await syncFolder(dirname(to));
  if (from !== to) return await Deno.rename(from, to);
`,
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "old-name-not-synced",
    harm: "after a loss of power a folder that was moved is at both places",
    file: "lib/files/folders.ts",
    find: "if (resolve(dirname(from)) !== resolve(dirname(to)))",
    replace: "if (resolve(dirname(from)) === resolve(dirname(to)))",
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "only-last-folder-synced",
    harm: "after a loss of power a new run's folder is not there",
    file: "lib/files/folders.ts",
    find: "for (const made of missing.toReversed())",
    replace: "for (const made of missing.slice(0, 1))",
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "copy-not-synced",
    harm: "after a loss of power a merged model has no tokenizer",
    file: "lib/files/folders.ts",
    find: `    await Deno.copyFile(from, to);
    using file = await Deno.open(to, { read: true }); // what may not be written can be copied too
    await file.sync();
`,
    replace: `    await Deno.copyFile(from, to);
`,
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "log-name-not-synced",
    harm: "after a loss of power a run's log is not there",
    file: "lib/files/write.ts",
    find: "if (isNew) await",
    replace: "if (!isNew) await",
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "log-never-synced",
    harm: "after a loss of power a checkpoint is there and lines of its steps are not",
    file: "lib/files/write.ts",
    find: `    sync: () => named("sync", path, () => file.sync()),`,
    replace: `    sync: () => Promise.resolve(),`,
    tests: ["tests/unit/files/durable_test.ts"],
  },
  {
    name: "first-piece-hashed",
    harm: "a change beyond the first mebibyte of a file is not seen",
    file: "lib/files/hash.ts",
    find: "for await (const piece of readPieces(path)) hash.update(piece);",
    replace: "for await (const piece of readPieces(path)) { hash.update(piece); break; }",
    tests: ["tests/unit/files/hash_test.ts"],
  },
  {
    name: "last-byte-not-hashed",
    harm: "a change of the last byte of a file is not seen",
    file: "lib/files/read.ts",
    find: "yield piece.subarray(0, count);",
    replace: "yield piece.subarray(0, Math.max(1, count - 1));",
    tests: ["tests/unit/files/hash_test.ts"],
  },
  {
    name: "hash-by-name-alone",
    harm: "two models take turns in pushing each other's hash out",
    file: "lib/files/hash.ts",
    find: "update(resolve(path))",
    replace: "update(path.slice(-9))",
    tests: ["tests/unit/files/hash_test.ts"],
  },
  {
    name: "hash-of-a-moving-file",
    harm: "the hash of a half-copied model is kept for the whole one",
    file: "lib/files/hash.ts",
    find: " && isSameState(before, stateOf(await stat(path)))",
    replace: "",
    tests: ["tests/unit/files/hash_test.ts"],
  },
  {
    name: "hash-of-a-fresh-file",
    harm: "a file that is written twice within a tick keeps its first hash",
    file: "lib/files/hash.ts",
    find: "begunMs - newestMs > SETTLED_MS",
    replace: "begunMs - newestMs >= 0",
    tests: ["tests/unit/files/hash_test.ts"],
  },
  {
    name: "state-without-inode",
    harm: "weights that were replaced by others of one size and date are not noticed",
    file: "lib/files/state.ts",
    find: " && a.inode === b.inode",
    replace: "",
    tests: ["tests/unit/files/hash_test.ts"],
  },
  {
    name: "full-disk-is-a-mistake",
    harm: "a full disk ends with the exit code of a wrong flag",
    file: "lib/files/errors.ts",
    find: `  [28, "free some space and try again"], // ENOSPC
`,
    replace: "",
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "quota-says-no-bytes",
    harm: "an exceeded quota does not say how much room was needed",
    file: "lib/files/errors.ts",
    find: "[27, 28, 122]",
    replace: "[27, 28]",
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "forbidden-is-damaged",
    harm: "a checkpoint that may not be read is taken for a damaged one",
    file: "lib/files/errors.ts",
    find: "error.cause instanceof Deno.errors.PermissionDenied || ",
    replace: "",
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "room-of-root",
    harm: "room that only root may use counts as free",
    file: "lib/files/disk.ts",
    find: "bavail * bsize",
    replace: "bavail * 512",
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "home-before-own-cache",
    harm: "MEFT_CACHE is not heeded where XDG_CACHE_HOME is set",
    file: "lib/files/cache.ts",
    find: `  const folder = own
    ? own
    : caches && isAbsolute(caches)
    ? join(caches, "meft")
`,
    replace: `  const folder = caches && isAbsolute(caches)
    ? join(caches, "meft")
    : own
    ? own
`,
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "cache-off-ignored",
    harm: "tokenised data is kept though MEFT_CACHE=off",
    file: "lib/files/cache.ts",
    find: `  if (own === "off") return null;
`,
    replace: "",
    tests: ["tests/process/cache_folder_test.ts"],
  },
  {
    name: "claimed-without-locks",
    harm: "on a file system without locks, a merge removes what another one is writing",
    file: "lib/files/folders.ts",
    find: "return takeLock(path, false);",
    replace: "return takeLock(path, true);",
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "another-folder-is-ours",
    harm: "a run goes on in a folder that was put in its own's place",
    file: "lib/files/folders.ts",
    find: "there !== null && there.ino === ours.ino && there.dev === ours.dev",
    replace: "there !== null && there.dev === ours.dev",
    tests: ["tests/unit/files/files_test.ts"],
  },
  {
    name: "folder-in-its-own-order",
    harm: "files of a checkpoint are read in another order on another machine",
    file: "lib/files/read.ts",
    find: "return entries.sort((a, b) => a.name < b.name ? -1 : 1);",
    replace: "return entries.reverse();",
    tests: ["tests/unit/files/read_test.ts"],
  },
  {
    name: "young-left-overs-removed",
    harm: "a report that is being written loses its file",
    file: "lib/files/leftovers.ts",
    find: "(found.mtime?.getTime() ?? 0) > ms",
    replace: "(found.mtime?.getTime() ?? 0) >= 0",
    tests: ["tests/unit/files/files_test.ts"],
  },
];
