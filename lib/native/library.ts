// SPDX-License-Identifier: Apache-2.0
/** Finds and opens libmeft, once a process and only when first needed. It is never closed: a call after that would crash. */
import { fileURLToPath } from "node:url";
import { UserError } from "../core/errors.ts";
import { statIfThereSync } from "../files/read.ts";
import { fromInt64 } from "./scalars.ts";
import { MEFT_ABI_MAJOR, MEFT_ABI_MINOR, SYMBOLS } from "./symbols.ts";

/** The functions of the library, by their C names. */
export type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** An open library. */
export interface Library {
  readonly path: string;
  readonly symbols: Symbols;
  readonly abi: { readonly major: number; readonly minor: number };
}

/** What the library says about itself. */
export interface BuildInfo {
  readonly compiler: string;
  readonly revision: string;
  readonly compiledTargets: readonly string[];
  /** Targets that were compiled and that this machine runs, in increasing order. */
  readonly machineTargets: readonly string[];
  /** Providers of matrix products. */
  readonly gemm: readonly string[];
  /** Kernels of `csrc/kernels/` that the backend does not have, as `family.kernel`. */
  readonly absentKernels: readonly string[];
  readonly backend: "cpu" | "cuda" | "cuda-emulated";
  /** Of a CUDA library: whether it has a device, and which. */
  readonly device?: DevicePresence;
}

/** Whether a CUDA library can work here; if not, which of the three is missing. */
export interface DevicePresence {
  readonly presence: "present" | "no-device" | "driver-missing" | "driver-too-old" | "broken";
  /** Why it is not present, in the driver's words. */
  readonly text: string;
  readonly name: string;
  readonly architecture: string;
  /** Newest CUDA version that the driver speaks. */
  readonly driver: string;
  /** CUDA version of the library. */
  readonly runtime: string;
  readonly memoryBytes: number;
  readonly cublasLt: string;
  /** Which kernels attention is by, and why. */
  readonly attention: string;
}

/** The libraries there are: one for the CPU, and one for CUDA devices. */
export type LibraryName = "cpu" | "cuda";

const LIBRARIES = {
  cpu: { variable: "MEFT_LIB", file: "libmeft.so" },
  cuda: { variable: "MEFT_CUDA_LIBRARY", file: "libmeft_cuda.so" },
} as const;

const opened = new Map<LibraryName, Library>();

/**
 * Where a library is looked for: `MEFT_LIB` or `MEFT_CUDA_LIBRARY`, else the build folder beside this checkout. Tests name
 * libmeft_cuda_emulated.so as the CUDA library.
 */
export function libraryPath(name: LibraryName = "cpu"): string {
  const { variable, file } = LIBRARIES[name];
  return readEnv(variable) ?? fileURLToPath(new URL(`../../build/cpu/${file}`, import.meta.url));
}

/**
 * The library, opened at the first call.
 *
 * @throws {Deno.errors.NotCapable} When `--allow-ffi` does not cover the library
 * @throws {UserError} When it is missing, broken, or of another ABI, saying what to do
 */
export function openLibrary(name: LibraryName = "cpu"): Library {
  const known = opened.get(name);
  if (known !== undefined) return known;
  const library = openAt(libraryPath(name), name);
  opened.set(name, library);
  return library;
}

/** Whether the library is open already. */
export function isLibraryOpen(name: LibraryName = "cpu"): boolean {
  return opened.has(name);
}

/** Opens the library at `path`, beside any that is open already. For everything but tests, {@linkcode openLibrary}. */
export function openAt(path: string, name: LibraryName = "cpu"): Library {
  const symbols = dlopen(path, LIBRARIES[name].variable);
  const version = symbols.meft_abi_version();
  const abi = { major: version >>> 16, minor: version & 0xffff };
  if (abi.major !== MEFT_ABI_MAJOR || abi.minor < MEFT_ABI_MINOR) {
    throw new UserError(
      `${path} has ABI ${abi.major}.${abi.minor}, expected ${MEFT_ABI_MAJOR}.${MEFT_ABI_MINOR} or a later ` +
        `${MEFT_ABI_MAJOR}.x: run \`deno task build\``,
    );
  }
  return { path, symbols, abi };
}

/** @returns Compiler, revision and targets of an open library */
export function buildInfo(library: Library): BuildInfo {
  return JSON.parse(readText((out, bytes) => library.symbols.meft_build_info(out, bytes)));
}

/** Reads a text from a function that writes at most `bytes` bytes and returns how many the whole text needs. */
export function readText(write: (out: Uint8Array<ArrayBuffer>, bytes: bigint) => bigint): string {
  let out = new Uint8Array(512);
  const bytes = fromInt64("text bytes", write(out, 512n));
  if (bytes > out.length) {
    out = new Uint8Array(bytes);
    write(out, BigInt(bytes));
  }
  return decodeText(out);
}

/** Text up to its NUL. */
export function decodeText(bytes: Uint8Array<ArrayBuffer>): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** An environment variable; undefined too when it is empty or may not be read. */
export function readEnv(name: string): string | undefined {
  try {
    return Deno.env.get(name) || undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

function dlopen(path: string, variable: string): Symbols {
  try {
    if (isNoFile(path)) throw new Error("it is no file");
    return Deno.dlopen(path, SYMBOLS).symbols;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const said = cause instanceof Error ? cause.message : String(cause);
    const reason = said.replace(/^(Could not open library: )+/, ""); // Deno says it twice
    throw new UserError(
      `Cannot open the native library ${path}: run \`deno task build\`, or set ${variable} to a built one (${reason})`,
      { cause },
    );
  }
}

/** Opening a pipe would wait for whoever writes to it. What is not there may be a name that the loader knows. */
function isNoFile(path: string): boolean {
  try {
    return statIfThereSync(path)?.isFile === false;
  } catch {
    return false; // whoever opens it says what is in the way
  }
}
