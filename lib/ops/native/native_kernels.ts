// SPDX-License-Identifier: Apache-2.0
/** The kernel table over libmeft. */
import {
  type ContextInfo,
  type ContextOptions,
  multipliesBf16,
  type NativeContext,
  type Target,
  targetFacts,
} from "../../native/context.ts";
import { UserError } from "../../core/errors.ts";
import { Lane } from "../../native/lane.ts";
import { account, createLedger, type Ledger } from "../../native/ledger.ts";
import { buildInfo, openLibrary } from "../../native/library.ts";
import { MEFT_BF16, MEFT_F32 } from "../../native/symbols.ts";
import { createHostTimes } from "../host_times.ts";
import { composeKernels, type Kernels } from "../kernels/kernels.ts";
import { hostPassMemory, hostPlace } from "./host_place.ts";
import type { Lanes } from "./lanes.ts";
import { modelKernels } from "./model_kernels.ts";
import { rowKernels } from "./row_kernels.ts";

/** Choices of {@linkcode nativeKernels}. */
export interface NativeKernelOptions extends ContextOptions {
  /** Type of matrix products; `auto` (the default) is bf16 where the target multiplies it, else f32. */
  readonly compute?: "f32" | "bf16" | "auto" | undefined;
  /** Where activations are accounted; a new ledger when absent. */
  readonly ledger?: Ledger | undefined;
  /** Gives the sparse adapter and its optimizer a lane of their own, whose calls return promises. */
  readonly async?: boolean | undefined;
}

/** Kernels that own native contexts. */
export interface NativeKernels extends Kernels, Disposable {
  readonly backend: "cpu" | "cuda";
  /** The model's lane: target, threads, workspace. */
  info(): ContextInfo;
}

/**
 * All kernels over the native library. Use with `using`.
 *
 * @throws {NativeError} When this build or machine lacks the target or provider asked for
 */
export function nativeKernels(options: NativeKernelOptions = {}): NativeKernels {
  const ledger = options.ledger ?? createLedger();
  const owned = new DisposableStack();
  const inline = owned.use(new Lane(options));
  const host = options.async ? owned.use(new Lane(options, true)) : inline;
  const info = inline.context.info();
  const compute = chooseCompute(options.compute ?? "auto", info);
  if (info.gemm === "onednn") checkOnednn(compute, buildInfo(openLibrary()).machineTargets);
  const lanes: Lanes = {
    model: inline.context,
    host,
    inline: inline.context,
    onDevice: () => false,
    compute: compute === "bf16" ? MEFT_BF16 : MEFT_F32,
    times: createHostTimes(),
  };
  return {
    ...composeKernels({
      backend: "cpu",
      model: modelKernels(lanes, compute),
      rows: rowKernels(lanes, compute),
      place: {
        ...hostPlace(ledger, compute),
        accountWorkspace: workspaceAccount(ledger, new Set([inline.context, host.context])),
      },
      memory: () => hostPassMemory(ledger, compute),
    }),
    backend: "cpu",
    info: () => inline.context.info(),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** Enters in the ledger what the scratch memory of these contexts has grown to since it was last asked. */
function workspaceAccount(ledger: Ledger, contexts: ReadonlySet<NativeContext>): () => void {
  let accounted = 0;
  return () => {
    const bytes = [...contexts].reduce((sum, context) => sum + context.info().workspaceBytes, 0);
    account(ledger, "workspace", bytes - accounted);
    accounted = bytes;
  };
}

/** Floats of a vector of AVX-512. */
const AVX512_LANES = 16;

/**
 * oneDNN has products of bf16 on x86-64 from AVX-512 on, whichever target our own kernels have.
 *
 * @param machineTargets What the processor runs
 * @throws {UserError} When it has none here
 */
export function checkOnednn(
  compute: "f32" | "bf16",
  machineTargets: readonly string[],
  arch: typeof Deno.build.arch = Deno.build.arch,
): void {
  if (compute !== "bf16" || arch !== "x86_64") return;
  if (machineTargets.some((target) => targetFacts(target as Target).vectorLanes >= AVX512_LANES)) return;
  throw new UserError(
    `oneDNN multiplies bf16 on processors with AVX-512, this one has ${machineTargets.join(", ")}: ` +
      "choose f32 (--dtype f32), or our own products (MEFT_GEMM=own)",
  );
}

function chooseCompute(wanted: "f32" | "bf16" | "auto", info: ContextInfo): "f32" | "bf16" {
  if (wanted !== "auto") return wanted;
  return multipliesBf16(info.target) ? "bf16" : "f32";
}
