// SPDX-License-Identifier: Apache-2.0
/** Folders: copied, and listed; and scratch, of which nothing is synced. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Copies a folder and all within. */
export async function copy(from: string | URL, to: string): Promise<void> {
  const source = typeof from === "string" ? from : fileURLToPath(from);
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(source)) {
    if (isDirectory) await copy(join(source, name), join(to, name));
    else await Deno.copyFile(join(source, name), join(to, name));
  }
}

/** Whether something stands at a path. */
export function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}

/** Paths of all files below a folder, relative to it, in order. */
export async function filesBelow(folder: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(folder, prefix))) {
    const path = prefix === "" ? name : `${prefix}/${name}`;
    if (isDirectory) found.push(...await filesBelow(folder, path));
    else found.push(path);
  }
  return found.sort();
}

/**
 * Calls the body with a fresh folder by its real path, removed afterwards. All have names of one length: runs write down where
 * they are, and what comes after that in a file would be moved.
 */
export async function withScratch<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = join(await Deno.realPath(tmpdir()), `meft-faults-${crypto.randomUUID()}`);
  await Deno.mkdir(folder);
  try {
    return await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
