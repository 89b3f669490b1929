// SPDX-License-Identifier: Apache-2.0
/**
 * The tokenizers package's binary, copied to build/: tasks may load what is there and nothing else, and where Deno keeps its
 * packages differs from machine to machine.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LIBRARY_VERSION } from "../lib/data/tokenizer_library.ts";
import { copyFile, makeFolder, moveInto, removeIfThere } from "../lib/files/folders.ts";
import { statIfThere } from "../lib/files/read.ts";

/** Where the package looks for a binary before its own. */
const VARIABLE = "NAPI_RS_NATIVE_LIBRARY_PATH";
const FOLDER = fileURLToPath(new URL("../build/", import.meta.url));

/** Has the package load the copy, made anew when it is not that of the package; a binary that the user names stays. */
export async function useTokenizersBinary(): Promise<void> {
  if (Deno.env.get(VARIABLE)) return;
  const name = binaryName(Deno.build);
  const source = join(dirname(fileURLToPath(import.meta.resolve("tokenizers"))), name);
  const found = await statIfThere(source);
  if (found === null || await mayLoad(source)) return; // the package says what it lacks, when it is needed
  const copy = join(FOLDER, `${LIBRARY_VERSION}-${name}`);
  if ((await statIfThere(copy))?.size !== found.size) {
    await makeFolder(FOLDER);
    await replace(source, copy);
  }
  Deno.env.set(VARIABLE, copy);
}

/** The package's file for a platform: `tokenizers.linux-x64-gnu.node`. */
export function binaryName({ os, arch, target }: Pick<typeof Deno.build, "os" | "arch" | "target">): string {
  const processor = arch === "aarch64" ? "arm64" : "x64";
  if (os === "darwin") return "tokenizers.darwin-universal.node";
  if (os === "windows") return `tokenizers.win32-${processor}-msvc.node`;
  return `tokenizers.linux-${processor}-${target.includes("musl") ? "musl" : "gnu"}.node`;
}

async function mayLoad(path: string): Promise<boolean> {
  return (await Deno.permissions.query({ name: "ffi", path })).state === "granted";
}

/** Two tasks started together never load half a copy. */
async function replace(source: string, copy: string): Promise<void> {
  const passing = `${copy}.${crypto.randomUUID()}.part`;
  try {
    await copyFile(source, passing);
    await moveInto(passing, copy);
  } finally {
    await removeIfThere(passing);
  }
}
