// SPDX-License-Identifier: Apache-2.0
/** A native context: one lane, with its target, its threads and at most one call in flight. */
import { NativeError, UserError } from "../core/errors.ts";
import { decodeText, openLibrary, readEnv, readText, type Symbols } from "./library.ts";
import { fromInt64 } from "./scalars.ts";
import { throwUnlessOk } from "./status.ts";
import { writeCtxParams } from "./structs.ts";
import * as constants from "./symbols.ts";
import { BASELINE_TARGET, TARGET_FACTS, type TargetFacts } from "./targets.ts";

/** Name of an instruction set, or `auto` for the best that the machine has. */
export type Target = "auto" | keyof typeof TARGET_FACTS;
/** Numbers of instruction sets in the C ABI. */
export const TARGETS: Readonly<Record<Target, number>> = {
  auto: constants.MEFT_TARGET_AUTO,
  ...Object.fromEntries(Object.entries(TARGET_FACTS).map(([name, { number }]) => [name, number])),
} as Record<Target, number>;

/** What the list of targets says of one; of a device, what holds of every target. */
export function targetFacts(target: Target | DeviceTarget): TargetFacts {
  const facts: Readonly<Record<string, TargetFacts>> = TARGET_FACTS;
  return facts[target] ?? TARGET_FACTS[BASELINE_TARGET];
}

/** Whether cores with this instruction set multiply bf16 faster than f32. */
export function multipliesBf16(target: Target | DeviceTarget): boolean {
  return targetFacts(target).multipliesBf16;
}

/** What contexts of the CUDA libraries run on. */
const DEVICE_TARGETS = {
  cuda: constants.MEFT_TARGET_CUDA,
  cuda_emulated: constants.MEFT_TARGET_CUDA_EMULATED,
} as const;
/** Name of a kind of device. */
export type DeviceTarget = keyof typeof DEVICE_TARGETS;

/** Providers of matrix products. */
const GEMM_PROVIDERS = { own: constants.MEFT_GEMM_OWN, onednn: constants.MEFT_GEMM_ONEDNN } as const;
/** Name of a provider of matrix products. */
export type GemmProvider = keyof typeof GEMM_PROVIDERS;

/** What a new context should be; each default comes from the environment, then from the machine. */
export interface ContextOptions {
  /** Default `MEFT_FORCE_TARGET`, else `auto`. */
  readonly target?: Target | undefined;
  /** Threads of the process's one pool that this context uses. Default `MEFT_THREADS`, else all usable cores. */
  readonly threads?: number | undefined;
  /** Default `MEFT_GEMM`, else `own`. */
  readonly gemm?: GemmProvider | undefined;
}

/** A context of the CUDA device: a stream for the model's work, or one for copies, which go before it where both could run. */
export type DeviceContext = "cuda" | "cuda-copies";

/** What a context is. */
export interface ContextInfo {
  readonly target: Target | DeviceTarget;
  readonly gemm: GemmProvider;
  readonly threads: number;
  readonly workspaceBytes: number;
  /** Target that the last kernel call really ran; `auto` before the first. */
  readonly ranTarget: Target | DeviceTarget;
  /** Bytes of files mapped by the whole process. */
  readonly mappedBytes: number;
  /** Milliseconds since the context was made in parts of the sparse adapter's calls. */
  readonly partMs: Readonly<Record<SparsePart, number>>;
}

/** What a process has of memory, as the system counts it. All 0 where that does not tell. */
export interface ProcessMemory {
  /** The limit that leaves less: 0 for none, 1 for that on private memory, 2 for that on addresses. */
  readonly limit: number;
  /** Bytes that the limit leaves. */
  readonly limitBytes: number;
  /** Bytes that were resident at most since the process began. */
  readonly peakBytes: number;
}

/** Parts of the sparse adapter's calls whose time is kept, in the order of `meft_ctx_info`. */
export const SPARSE_PARTS = [
  "scoring",
  "values",
  "scoreGradients",
  "inputGradients",
  "routerGradients",
  "rowGradients",
  "rowSteps",
] as const;
/** One of {@linkcode SPARSE_PARTS}. */
export type SparsePart = typeof SPARSE_PARTS[number];

interface Owned {
  readonly symbols: Symbols;
  readonly pointer: Deno.PointerObject;
}

// A backstop for a context that nobody disposed: it holds a few KiB, its workspace and the thread pool.
const forgotten = new FinalizationRegistry<Owned>(destroy);

function destroy(owned: Owned): void {
  owned.symbols.meft_ctx_destroy(owned.pointer);
}

/**
 * Owns a native context. Use with `using`.
 *
 * @example A lane of two threads
 * ```ts ignore
 * using lane = new NativeContext({ threads: 2 });
 * lane.info().target;
 * ```
 */
export class NativeContext implements Disposable {
  /** Functions of the library, for the typed calls. */
  readonly symbols: Symbols;
  #pointer: Deno.PointerObject | null;
  #inFlight = 0;
  #disposed = false;

  /**
   * @param options Of a lane of the CPU; or which stream of the CUDA device
   * @throws {UserError} When an option or its environment variable has no meaning
   * @throws {NativeError} When this build or machine lacks the target, the provider or the device
   */
  constructor(options: ContextOptions | DeviceContext = {}) {
    const params = typeof options === "string" ? deviceParams(options) : cpuParams(options);
    this.symbols = openLibrary(typeof options === "string" ? "cuda" : "cpu").symbols;
    const error = new Uint8Array(512);
    const pointer = this.symbols.meft_ctx_create(params, error, BigInt(error.length));
    if (pointer === null) throw new NativeError("ctx_create", constants.MEFT_UNSUPPORTED, decodeText(error));
    this.#pointer = pointer;
    forgotten.register(this, { symbols: this.symbols, pointer }, this);
  }

  /** For the typed calls. @throws {Error} When the context was disposed */
  get pointer(): Deno.PointerObject {
    if (this.#disposed || this.#pointer === null) throw new Error("This native context was disposed");
    return this.#pointer;
  }

  /** Whether the context can no longer be used. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Ends a blocking call. @throws {NativeError} Unless its status is OK */
  check(op: string, status: number): void {
    throwUnlessOk(op, status, () => this.#errorText());
  }

  /**
   * Starts a nonblocking call and ends it. `start` closes over the call's arrays, so they live until it settles.
   *
   * @throws {NativeError} Unless its status is OK
   */
  async settle(op: string, start: () => Promise<number>): Promise<void> {
    this.#inFlight++;
    try {
      this.check(op, await start());
    } finally {
      this.#inFlight--;
      if (this.#disposed) this.#release();
    }
  }

  /** What the context is. @throws {NativeError} When a call is in flight */
  info(): ContextInfo {
    const all = new BigInt64Array(6 + SPARSE_PARTS.length);
    this.check("ctx_info", this.symbols.meft_ctx_info(this.pointer, all, BigInt(all.length)));
    const [target, gemm, threads, workspaceBytes, ranTarget, mappedBytes, ...partNs] = Array.from(
      all,
      (value) => fromInt64("context info", value),
    );
    return {
      target: nameOf(ALL_TARGETS, target),
      gemm: nameOf(GEMM_PROVIDERS, gemm),
      threads: threads ?? 0,
      workspaceBytes: workspaceBytes ?? 0,
      ranTarget: nameOf(ALL_TARGETS, ranTarget),
      mappedBytes: mappedBytes ?? 0,
      partMs: Object.fromEntries(
        SPARSE_PARTS.map((part, i) => [part, (partNs[i] ?? 0) / 1e6]),
      ) as Record<SparsePart, number>,
    };
  }

  /** What this process has of memory. */
  processMemory(): ProcessMemory {
    const known = 6 + SPARSE_PARTS.length;
    const all = new BigInt64Array(known + 3);
    this.check("ctx_info", this.symbols.meft_ctx_info(this.pointer, all, BigInt(all.length)));
    const [limit = 0n, limitBytes = 0n, peakBytes = 0n] = all.subarray(known);
    return { limit: Number(limit), limitBytes: Number(limitBytes), peakBytes: Number(peakBytes) };
  }

  /** Frees the context; with a call in flight, as soon as that has settled. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#release();
  }

  #release(): void {
    if (this.#pointer === null || this.#inFlight > 0) return;
    forgotten.unregister(this);
    destroy({ symbols: this.symbols, pointer: this.#pointer });
    this.#pointer = null;
  }

  #errorText(): string {
    const pointer = this.#pointer;
    return readText((out, bytes) => this.symbols.meft_error_text(pointer, out, bytes));
  }
}

/** One for a single short call: one thread, so that no pool is started. About a microsecond. */
export function smallContext(): NativeContext {
  return new NativeContext({ target: BASELINE_TARGET, threads: 1, gemm: "own" });
}

const ALL_TARGETS = { ...TARGETS, ...DEVICE_TARGETS };

function deviceParams(context: DeviceContext): Uint8Array<ArrayBuffer> {
  return writeCtxParams({
    target: constants.MEFT_TARGET_AUTO,
    gemm: constants.MEFT_GEMM_OWN,
    threads: 1,
    stream: context === "cuda" ? constants.MEFT_STREAM_WORK : constants.MEFT_STREAM_COPIES,
  });
}

function cpuParams(options: ContextOptions): Uint8Array<ArrayBuffer> {
  return writeCtxParams({
    target: choose(
      "MEFT_FORCE_TARGET",
      "target",
      options.target ?? readEnv("MEFT_FORCE_TARGET") ?? "auto",
      TARGETS,
    ),
    gemm: choose("MEFT_GEMM", "gemm", options.gemm ?? readEnv("MEFT_GEMM") ?? "own", GEMM_PROVIDERS),
    threads: threadCount(options.threads),
    stream: constants.MEFT_STREAM_WORK,
  });
}

function choose<Table extends Readonly<Record<string, number>>>(
  variable: string,
  option: string,
  name: string,
  table: Table,
): number {
  const value = Object.hasOwn(table, name) ? table[name] : undefined;
  if (value !== undefined) return value;
  throw new UserError(
    `${option} (or ${variable}) is "${name}", expected one of ${Object.keys(table).join(", ")}`,
  );
}

function threadCount(option: number | undefined): number {
  const threads = option ?? Number(readEnv("MEFT_THREADS") ?? 0);
  if (Number.isInteger(threads) && threads >= 0 && threads <= 4096) return threads;
  throw new UserError(
    `threads (or MEFT_THREADS) is ${
      option ?? readEnv("MEFT_THREADS")
    }, expected a whole number from 0 (all cores) to 4096`,
  );
}

function nameOf<Name extends string>(table: Readonly<Record<Name, number>>, value: number | undefined): Name {
  for (const name in table) if (table[name] === value) return name;
  throw new RangeError(`The library reported ${value}, expected one of ${Object.values(table).join(", ")}`);
}
