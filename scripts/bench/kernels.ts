// SPDX-License-Identifier: Apache-2.0
/** Every kernel of a step against the machine's limits, measured in turn with it, and against its portable form. */
import { fileURLToPath } from "node:url";
import { frozenLayerSeconds } from "./layer_share.ts";
import { LineProcess } from "./line_process.ts";
import { machineTargets } from "./machine.ts";
import { multipliesBf16, type Target } from "../../lib/native/context.ts";
import { BASELINE_TARGET } from "../../lib/native/targets.ts";
import { type NativeKernelOptions, nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { linearCases, OTHER_CASES, sparseCases } from "./kernel_cases.ts";
import type { Bound, KernelCase, MakeCase } from "./operands.ts";
import { quantile, summarize, type Summary } from "./statistics.ts";

/** What the machine did at most, in GFLOP/s and GB/s of all threads. */
export type Limits = Readonly<Record<Bound, number>>;

/** A measured kernel. */
export interface KernelResult {
  readonly name: string;
  readonly shape: string;
  readonly bound: Bound;
  readonly ms: Summary;
  /** GFLOP/s or GB/s, by the bound, in the fastest round. */
  readonly rate: number;
  /** That over the limit's best in the same rounds. */
  readonly share: number;
  /** Times faster than the portable target; null when that was not measured. */
  readonly overPortable: number | null;
  /** oneDNN's time over ours, where it is installed and has the kernel. */
  readonly overOneDnn: number | null;
}

/** Choices of {@linkcode benchKernels}. */
export interface KernelOptions {
  readonly threads: number;
  readonly rounds: number;
  readonly quick: boolean;
  readonly onResult: (result: KernelResult) => void;
}

/** A case with its rivals on the same operands. */
interface Contest {
  readonly ours: KernelCase;
  readonly portable: KernelCase | null;
  readonly oneDnn: KernelCase | null;
}

/** Seconds of the frozen products of a 7B model's layer, in the machine's best type. */
export function frozenLayer({ threads, rounds }: { threads: number; rounds: number }): number {
  using k = nativeKernels({ threads });
  return frozenLayerSeconds(k, rounds);
}

/** Measures all kernels. */
export async function benchKernels(options: KernelOptions): Promise<KernelResult[]> {
  await using limits = startLimits(options.threads);
  using owned = new DisposableStack();
  const kernels = (more: NativeKernelOptions): Kernels =>
    owned.use(nativeKernels({ threads: options.threads, ...more }));
  const results: KernelResult[] = [];
  const take = async (contest: Contest): Promise<void> => {
    const result = await measure(contest, limits, options.rounds);
    options.onResult(result);
    results.push(result);
  };
  const hasOneDnn = machineTargets().gemm.includes("onednn");
  const computes = machineTargets().targets.some((name) => multipliesBf16(name as Target))
    ? ["bf16", "f32"] as const
    : ["f32"] as const;
  for (const compute of computes) {
    const ours = kernels({ compute });
    const oneDnn = hasOneDnn ? kernels({ compute, gemm: "onednn" }) : null;
    for (const make of linearShapes(options.quick)) {
      await take({ ours: make(ours), portable: null, oneDnn: oneDnn && make(oneDnn) });
    }
  }
  const [compute] = computes;
  const ours = kernels({ compute });
  const portable = options.quick ? null : kernels({ target: BASELINE_TARGET, compute });
  for (const make of OTHER_CASES) {
    await take({ ours: make(ours), portable: portable && make(portable), oneDnn: null });
  }
  for (
    const [neurons, experts] of options.quick ? [[4096, 256]] as const : [[4096, 256], [16384, 512]] as const
  ) {
    const rivals = portable && sparseCases(portable, neurons, experts);
    for (const [i, one] of sparseCases(ours, neurons, experts).entries()) {
      await take({ ours: one, portable: rivals?.[i] ?? null, oneDnn: null });
    }
  }
  return results;
}

function linearShapes(quick: boolean): MakeCase[] {
  const shapes: [number, number, number][] = quick
    ? [[512, 4096, 4096]]
    : [[512, 4096, 4096], [128, 4096, 4096], [1024, 1024, 256], [1024, 2816, 1024], [1024, 1024, 2816], [
      1024,
      1024,
      1024,
    ], [
      1,
      4096,
      4096,
    ]];
  return shapes.flatMap(([tokens, rows, cols]) => linearCases(tokens, rows, cols));
}

async function measure(
  { ours, portable, oneDnn }: Contest,
  limits: LineProcess,
  rounds: number,
): Promise<KernelResult> {
  const times: number[] = [];
  const rival: number[] = [];
  const limit: number[] = [];
  timeOf(ours);
  if (oneDnn) timeOf(oneDnn);
  for (let round = 0; round < rounds; round++) {
    limit.push((await limits.ask<Limits>(""))[ours.bound]);
    times.push(timeOf(ours));
    if (oneDnn) rival.push(timeOf(oneDnn));
  }
  // The fastest rounds are compared: what others on the machine took away is in none of them, or in fewer.
  const best = Math.min(...times);
  const rate = ours.work / best * 1000;
  return {
    name: ours.name,
    shape: ours.shape,
    bound: ours.bound,
    ms: summarize(times),
    rate,
    share: rate / quantile(limit, 1),
    overPortable: portable && timeOf(portable) / best,
    overOneDnn: oneDnn && Math.min(...rival) / best,
  };
}

/** Milliseconds of one call, over at least 20 ms of calls. */
function timeOf({ run }: KernelCase): number {
  const start = performance.now();
  for (let calls = 1;; calls++) {
    run();
    const ms = performance.now() - start;
    if (ms >= 20) return ms / calls;
  }
}

/** The machine's limits, measured once. */
export async function measureLimits(threads: number): Promise<Limits> {
  await using limits = startLimits(threads);
  return await limits.ask<Limits>("");
}

/** The process that measures the machine's limits, round by round. */
function startLimits(threads: number): LineProcess {
  return new LineProcess(builtProgram("bench_limits"), [String(threads)]);
}

/** A program of the build folder. */
export function builtProgram(name: string): string {
  return fileURLToPath(new URL(`../../build/cpu/${name}`, import.meta.url));
}
