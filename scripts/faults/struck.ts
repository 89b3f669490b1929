// SPDX-License-Identifier: Apache-2.0
/** Runs commands with `shim.c` preloaded: which calls on files they make, and what becomes of them when one is struck. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { firstCommand } from "../../lib/native/tools.ts";
import { BuildError } from "../build.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const COMMANDS = join(ROOT, "scripts", "meft.ts");

/** A call on a file of the watched folder. */
export interface FileCall {
  /** From 1, in the order of the process. */
  readonly number: number;
  /** As `shim.c` names it: "write", "sync". */
  readonly kind: string;
  /** Relative to the watched folder; "" for itself. */
  readonly path: string;
  readonly struck: boolean;
}

/** A fault: which call, and what happens then, as `FAULTS_ACTION` of `shim.c` has it. */
export interface Fault {
  readonly at: number;
  readonly action: string;
}

/** What a command left behind. */
export interface Ended {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether it took longer than {@linkcode LONGEST_MS} and was killed for it. */
  readonly hung: boolean;
  readonly ms: number;
  /** Calls on files, when they were asked for. */
  readonly calls: readonly FileCall[];
}

/** Many times what any command here takes on a busy machine. */
export const LONGEST_MS = 120_000;

/** Compiles a library to preload, when its source is newer. Returns its path. @throws {BuildError} Without a compiler */
export async function buildPreload(source: URL): Promise<string> {
  const path = fileURLToPath(source);
  const library = join(
    ROOT,
    "build",
    "faults",
    path.slice(path.lastIndexOf("/") + 1).replace(/\.\w+$/, ".so"),
  );
  const built = await Deno.stat(library).then(({ mtime }) => mtime?.getTime() ?? 0, () => 0);
  if (built > ((await Deno.stat(path)).mtime?.getTime() ?? Infinity)) return library;
  const compiler = await firstCommand(["cc", "c++", "g++", "clang++"]);
  if (compiler === null) {
    throw new BuildError("Faults are injected by a C library, and there is no compiler: sh scripts/setup.sh");
  }
  await Deno.mkdir(dirname(library), { recursive: true });
  const unfinished = `${library}.${crypto.randomUUID()}`;
  const args = [
    "-x",
    "c",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O2",
    "-fPIC",
    "-shared",
    "-o",
    unfinished,
    path,
    "-ldl",
  ];
  const { success, stderr } = await new Deno.Command(compiler, { args, stdout: "null", stderr: "piped" })
    .output();
  if (!success) {
    throw new BuildError(`Cannot compile ${path}:`, {
      lines: new TextDecoder().decode(stderr).trim().split("\n"),
    });
  }
  await Deno.rename(unfinished, library);
  return library;
}

/** What `shim.c` is to do. */
export interface Watch {
  /** Processes whose command line contains this are watched. */
  readonly process: string;
  /** What is injected into one of them. Default: nothing, calls are only counted. */
  readonly fault?: Fault;
}

/** How a command is run. */
export interface RunOptions {
  /** Working folder, which is the watched one. A real path. */
  readonly folder: string;
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Preloads `shim.c`: calls of these processes are counted, and the fault is injected into one of them. */
  readonly watch?: Watch;
  /** Given the process as soon as it runs. */
  readonly onStart?: (child: Deno.ChildProcess) => void;
}

/** Runs a command of meft to its end. */
export async function runCommand(
  args: readonly string[],
  { folder, env = {}, watch, onStart }: RunOptions,
): Promise<Ended> {
  const log = watch && await Deno.makeTempFile();
  const startMs = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", "--no-prompt", COMMANDS, ...args],
    cwd: folder,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: {
      NO_COLOR: "1",
      MEFT_CACHE: "off",
      ...env,
      ...(watch && await watching(folder, watch, log as string)),
    },
  }).spawn();
  onStart?.(child);
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill("SIGKILL");
  }, LONGEST_MS);
  const { code, signal, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  return {
    code,
    signal,
    hung,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
    ms: performance.now() - startMs,
    calls: log === undefined ? [] : await readCalls(log, folder),
  };
}

/**
 * The environment in which a process is watched.
 *
 * @param log File for its calls on what is in the folder: see {@linkcode readCalls}
 */
export async function watching(
  folder: string,
  { process, fault }: Watch,
  log: string,
): Promise<Record<string, string>> {
  return {
    LD_PRELOAD: await buildPreload(new URL("./shim.c", import.meta.url)),
    FAULTS_FOLDER: folder,
    FAULTS_PROCESS: process,
    FAULTS_LOG: log,
    ...(fault && { FAULTS_AT: String(fault.at), FAULTS_ACTION: fault.action }),
  };
}

/** The calls that a watched process made. The log is removed. */
export async function readCalls(log: string, folder: string): Promise<FileCall[]> {
  const text = await Deno.readTextFile(log);
  await Deno.remove(log);
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [number, kind = "", path = "", struck] = line.split("\t");
    return { number: Number(number), kind, path: path.slice(folder.length + 1), struck: struck === "struck" };
  });
}
