// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task build`: configures and builds libmeft with CMake. Other tasks call {@linkcode ensureBuilt}, which does so
 * only when a source is newer than the last build. Speaks on stderr, so that stdout stays the task's own.
 */
import { fileURLToPath } from "node:url";
import { reportFailure } from "../lib/cli/failure.ts";
import { MachineError } from "../lib/core/errors.ts";
import { named } from "../lib/files/errors.ts";
import { makeFolder, remove } from "../lib/files/folders.ts";
import { isThere, listFolder, readTextIfThere, stat, statIfThere } from "../lib/files/read.ts";
import { writeTextTo } from "../lib/files/write.ts";
import { readEnv } from "../lib/native/library.ts";
import { firstCommand, missingTools, missingToolsText, startProgram } from "../lib/native/tools.ts";
import { helpIfAsked } from "./help.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const SOURCES = ["csrc"];

/** Where and how to build. */
export interface BuildOptions {
  /** Folder under the root. */
  readonly folder: string;
  /** Further arguments of CMake's configuration. */
  readonly define: readonly string[];
  /** What is built: CMake's own `all` (what people run), or what tests need besides. Default "all". */
  readonly target?: "all" | "tested";
  /** Builds even when no source changed: a package that the build looks for may have come since. */
  readonly always?: boolean;
}

/** The library that tasks use. */
export const RELEASE: BuildOptions = { folder: "build/cpu", define: [] };

/** What tests use: the same, with the CUDA library emulated, and compiled where nvcc is. */
export const TESTED: BuildOptions = { ...RELEASE, target: "tested" };

/** A build that cannot go on, with the one message to show. */
export class BuildError extends MachineError {
  override readonly name = "BuildError";
}

/**
 * Builds unless the last build is newer than every source, or `MEFT_LIB` names another library.
 * When that fails, says why in one message and exits.
 *
 * @param json Says it as a JSON object on stdout too
 */
export async function ensureBuilt(options: BuildOptions = RELEASE, json = false): Promise<void> {
  if (Deno.env.get("MEFT_LIB")) return;
  await exitIfFailed(json, async () => {
    if (!(await isFresh(options))) await buildAloud(options);
  });
}

/**
 * Configures and builds.
 *
 * @throws {BuildError} When a tool is missing, naming the packages; when the compiler fails, with its output
 */
export async function build(options: BuildOptions = RELEASE): Promise<void> {
  await requireTools();
  const folder = `${ROOT}${options.folder}`;
  await makeFolder(folder);
  using lock = await named(
    "lock",
    `${folder}.lock`,
    () => Deno.open(`${folder}.lock`, { create: true, write: true }),
  );
  await lock.lock(true); // two tasks started together build once
  if (!options.always && await isFresh(options)) return;
  const begun = new Date();
  await forgetOtherCheckout(folder);
  await cmake(["-S", `${ROOT}csrc`, "-B", folder, ...await generatorArguments(folder), ...options.define]);
  const target = options.target ?? "all";
  const parallel = String(navigator.hardwareConcurrency);
  await cmake(["--build", folder, "--target", target, "--parallel", parallel]);
  await stamp(`${folder}/${stampName("all")}`, begun);
  if (target !== "all") await stamp(`${folder}/${stampName(target)}`, begun);
}

/** Marks a build with the time it began: a source saved meanwhile is newer. */
async function stamp(path: string, begun: Date): Promise<void> {
  await writeTextTo(path, "");
  await named("write", path, () => Deno.utime(path, begun, begun));
}

function stampName(target: "all" | "tested"): string {
  return `${target}.stamp`;
}

/** Builds a developer tool of a build folder that is configured. @throws {BuildError} When the compiler fails */
export async function buildTarget(target: string, options: BuildOptions = RELEASE): Promise<void> {
  await cmake(["--build", `${ROOT}${options.folder}`, "--target", target]);
}

async function exitIfFailed(json: boolean, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    Deno.exit(reportFailure(error, json));
  }
}

async function buildAloud(options: BuildOptions): Promise<void> {
  const start = performance.now();
  console.error(`Building the native library into ${options.folder} (a minute or two the first time)`);
  await build(options);
  console.error(`Built in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** Whether the library is there and no source, nor a folder of sources, changed since its build began. */
async function isFresh(options: BuildOptions): Promise<boolean> {
  const folder = `${ROOT}${options.folder}`;
  if (!(await isThere(`${folder}/libmeft.so`))) return false;
  const built = (await statIfThere(`${folder}/${stampName(options.target ?? "all")}`))?.mtime ?? null;
  if (built === null) return false;
  for (const source of SOURCES) if (await newest(`${ROOT}${source}`) > built.getTime()) return false;
  return true;
}

/** Latest change of a file, or of a folder and all in it, in milliseconds. */
async function newest(path: string): Promise<number> {
  const status = await stat(path);
  let latest = status.mtime?.getTime() ?? Infinity;
  if (!status.isDirectory) return latest;
  for (const entry of await listFolder(path)) {
    latest = Math.max(latest, await newest(`${path}/${entry.name}`));
  }
  return latest;
}

async function requireTools(): Promise<void> {
  const missing = await missingTools();
  if (missing.length > 0) {
    throw new BuildError(`Cannot build the native library: ${missingToolsText(missing)}`);
  }
}

/** CMake refuses a build folder of another source folder: one that moved with its checkout is begun anew. */
async function forgetOtherCheckout(folder: string): Promise<void> {
  const cache = await readTextIfThere(`${folder}/CMakeCache.txt`) ?? "";
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(cache)?.[1];
  if (home === undefined || home === `${ROOT}csrc`) return;
  await remove(folder);
}

/** Ninja and ccache where they are; a folder keeps the generator it began with. */
async function generatorArguments(folder: string): Promise<string[]> {
  if (await isThere(`${folder}/CMakeCache.txt`)) return [];
  const ninja = await firstCommand(["ninja"]);
  const ccache = await firstCommand(["ccache"]);
  return [...(ninja ? ["-G", "Ninja"] : []), ...(ccache ? ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] : [])];
}

/** Runs CMake; on a terminal, shows how far the build is. */
async function cmake(args: readonly string[]): Promise<void> {
  const child = startProgram("cmake", {
    args: [...loaderVariables(), ...args],
    stdout: "piped",
    stderr: "piped",
  });
  const [output, errors] = await Promise.all([
    textOf(child.stdout, Deno.stderr.isTerminal() ? showStep : () => {}),
    textOf(child.stderr, () => {}),
  ]);
  if ((await child.status).success) return;
  throw new BuildError(`Cannot build the native library: cmake ${args.join(" ")} failed:`, {
    lines: (output + errors).trimEnd().split("\n"),
  });
}

/** Has CMake give itself the variables that Deno hands on to no program which it was told by name. */
function loaderVariables(): string[] {
  const given = ["LD_LIBRARY_PATH", "LD_RUN_PATH"].flatMap((name) => {
    const value = readEnv(name);
    return value === undefined ? [] : [`${name}=${value}`];
  });
  return given.length === 0 ? [] : ["-E", "env", ...given, "cmake"];
}

/** All that a stream says; `show` sees each piece as it comes. */
async function textOf(stream: ReadableStream<Uint8Array>, show: (piece: string) => void): Promise<string> {
  let text = "";
  for await (
    const piece of stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
  ) {
    text += piece;
    show(piece);
  }
  return text;
}

/** `[12/112]` of Ninja or `[ 12%]` of Make, over the one before it. */
function showStep(piece: string): void {
  const step = piece.match(/\[[ \d]+(?:\/\d+|%)\]/g)?.at(-1);
  if (step !== undefined) Deno.stderr.writeSync(new TextEncoder().encode(`\r${step} \r`));
}

if (import.meta.main) {
  helpIfAsked("build");
  await exitIfFailed(false, () => buildAloud({ ...RELEASE, always: true }));
}
