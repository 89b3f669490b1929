// SPDX-License-Identifier: Apache-2.0
/** Finds and opens libmeft, once a process and only when first needed. It is never closed: a call after that would crash. */
import { fileURLToPath } from "node:url";
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
}

let opened: Library | undefined;

/** Where the library is looked for: `MEFT_LIB`, else the build folder beside this checkout. */
export function libraryPath(): string {
  return readEnv("MEFT_LIB") ??
    fileURLToPath(new URL("../../build/cpu/libmeft.so", import.meta.url));
}

/**
 * The library, opened at the first call.
 *
 * @throws {Deno.errors.NotCapable} When `--allow-ffi` does not cover the library
 * @throws {Error} When it is missing, broken, or of another ABI, saying what to do
 */
export function openLibrary(): Library {
  opened ??= openAt(libraryPath());
  return opened;
}

/** Opens the library at `path`, beside any that is open already. For everything but tests, {@linkcode openLibrary}. */
export function openAt(path: string): Library {
  const symbols = dlopen(path);
  const version = symbols.meft_abi_version();
  const abi = { major: version >>> 16, minor: version & 0xffff };
  if (abi.major !== MEFT_ABI_MAJOR || abi.minor < MEFT_ABI_MINOR) {
    throw new Error(
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

function dlopen(path: string): Symbols {
  try {
    return Deno.dlopen(path, SYMBOLS).symbols;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `Cannot open the native library ${path}: run \`deno task build\`, or set MEFT_LIB to a built libmeft (${reason})`,
      { cause },
    );
  }
}
