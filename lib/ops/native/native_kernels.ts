// SPDX-License-Identifier: Apache-2.0
/** The kernel table over libmeft. */
import type { ActivationDType } from "../../core/dtype.ts";
import { Arena } from "../../native/arena.ts";
import { type ContextInfo, type ContextOptions, multipliesBf16, vectorLanes } from "../../native/context.ts";
import { Lane } from "../../native/lane.ts";
import { account, createLedger, type Ledger } from "../../native/ledger.ts";
import { MEFT_BF16, MEFT_F32 } from "../../native/symbols.ts";
import { createJobQueue } from "../../core/job_queue.ts";
import { directLink } from "../host_link.ts";
import { createHostTimes } from "../host_times.ts";
import type { HostProducts, Kernels, OwnMemory } from "../kernels.ts";
import { adamwKernels } from "./adamw.ts";
import { attentionKernels } from "./attention.ts";
import { denseKernels } from "./dense.ts";
import type { Lanes } from "./lanes.ts";
import { linearKernels } from "./linear.ts";
import { pairKernels } from "./pairs.ts";
import { hostMemory } from "./memory.ts";
import { rowKernels } from "./rows.ts";
import { sparseKernels } from "./sparse.ts";
import { branchKernels } from "./sparse_branch.ts";
import { rowStepKernels } from "./sparse_step.ts";

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
  const compute = chooseCompute(options.compute ?? "auto", inline.context.info());
  const lanes: Lanes = {
    model: inline.context,
    host,
    inline: inline.context,
    onDevice: () => false,
    compute: compute === "bf16" ? MEFT_BF16 : MEFT_F32,
    times: createHostTimes(),
  };
  const contexts = new Set([inline.context, host.context]);
  let accounted = 0;
  const accountWorkspace = (): void => {
    const bytes = [...contexts].reduce((sum, context) => sum + context.info().workspaceBytes, 0);
    account(ledger, "workspace", bytes - accounted);
    accounted = bytes;
  };
  let twin: Kernels | null = null;
  const first: NativeKernels = {
    backend: "cpu",
    float: "f32",
    compute,
    hostProducts: hostProducts(inline.context.info(), compute),
    activationDType: compute,
    ledger,
    hostBeside: options.async === true,
    hostJobs: createJobQueue(),
    hostTimes: lanes.times,
    ...ownMemory(ledger, compute),
    twin: () => twin ??= { ...first, ...ownMemory(ledger, compute) },
    device: null,
    deviceClock: null,
    ...hostMemory(compute),
    ...rowKernels(lanes),
    ...linearKernels(lanes),
    ...denseKernels(lanes),
    ...attentionKernels(lanes),
    ...sparseKernels(lanes),
    ...branchKernels(lanes),
    ...rowStepKernels(lanes),
    ...pairKernels(lanes),
    ...adamwKernels(lanes),
    accountWorkspace,
    info: () => inline.context.info(),
    [Symbol.dispose]: () => owned.dispose(),
  };
  return first;
}

function ownMemory(ledger: Ledger, activations: ActivationDType): OwnMemory {
  const [arena, hostArena] = [new Arena(ledger), new Arena(ledger)];
  return {
    arena,
    arenaFloats: (count) => arena.f32(count),
    arenaActivations: (count) => activations === "bf16" ? arena.bf16(count) : arena.f32(count),
    hostArena,
    hostFloats: (count) => hostArena.f32(count),
    link: directLink(),
  };
}

/** How a lane multiplies. */
export function hostProducts(
  { threads, target }: Pick<ContextInfo, "threads" | "target">,
  compute: "f32" | "bf16",
): HostProducts {
  return {
    threads,
    operandDType: compute === "bf16" && multipliesBf16(target) ? "bf16" : "f32",
    lanes: vectorLanes(target),
  };
}

function chooseCompute(wanted: "f32" | "bf16" | "auto", info: ContextInfo): "f32" | "bf16" {
  if (wanted !== "auto") return wanted;
  return multipliesBf16(info.target) ? "bf16" : "f32";
}
