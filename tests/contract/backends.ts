// SPDX-License-Identifier: Apache-2.0
/** Every backend that this machine has. A new one is added here, and every contract case runs on it. */
import { Lane } from "../../lib/native/lane.ts";
import { createLedger } from "../../lib/native/ledger.ts";
import { MEFT_BF16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { createHostTimes } from "../../lib/ops/host_times.ts";
import { composeKernels, type Kernels } from "../../lib/ops/kernels/kernels.ts";
import { hostIndices, hostPassMemory, hostPlace } from "../../lib/ops/native/host_place.ts";
import type { Lanes } from "../../lib/ops/native/lanes.ts";
import { modelKernels } from "../../lib/ops/native/model_kernels.ts";
import { rowKernels } from "../../lib/ops/native/row_kernels.ts";
import { firedRowKernels } from "../../lib/ops/fired_rows.ts";
import { modelKernels as modelReference } from "../../lib/ops/reference/model_kernels.ts";
import { rowKernels as rowReference } from "../../lib/ops/reference/row_kernels.ts";
import { cudaKernels } from "../../lib/ops/native/cuda_kernels.ts";
import { type NativeKernels, nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { withCheckedWorkspace } from "../checked_workspace.ts";
import { openTestDevice } from "../cuda_library.ts";
import { type DeviceTarget, type Target, TARGETS } from "../../lib/native/context.ts";

/** Kernels that are not the library's. */
const OWN_LOOPS = firedRowKernels({ indices: hostIndices });

/** A way to run kernels. */
export interface Backend {
  readonly name: string;
  /** Type of its matrix products. */
  readonly compute: "f32" | "bf16";
  /** Results must not depend on the threads. */
  open(threads: number): Kernels & Disposable;
  /** Fails unless the model's lane ran last on what the name says, and on nothing when all that was called is the host's. */
  assertRan(k: Kernels, called: ReadonlySet<string>): void;
}

/** Instruction sets that were compiled and that this machine runs. */
export function machineTargets(): Target[] {
  return buildInfo(openLibrary()).machineTargets.filter((name): name is Target => name in TARGETS);
}

/** The native library on every instruction set of the machine, with products in f32 and in bf16. */
export function backends(): Backend[] {
  return machineTargets().flatMap((target) =>
    bothProducts(
      `cpu ${target}`,
      target,
      (compute, threads) => nativeKernels({ target, compute, threads }),
    )
  );
}

/** The CUDA device, or the same kernels emulated by the CPU: what the name says. */
export function deviceBackends(): Backend[] {
  const { backend } = openTestDevice();
  return bothProducts(
    backend,
    backend === "cuda" ? "cuda" : "cuda_emulated",
    (compute, threads) => cudaKernels({ compute, host: { threads }, blockBytes: 1 << 20 }),
  );
}

/**
 * The device's own kernels of rows and the sparse adapter, which the product leaves to the CPU so far: everything is computed
 * there, on arrays of the host.
 */
export function deviceRowBackends(): Backend[] {
  const { backend } = openTestDevice();
  return bothProducts(
    `rows on ${backend}`,
    backend === "cuda" ? "cuda" : "cuda_emulated",
    (compute) => deviceRowKernels(compute),
  );
}

function deviceRowKernels(compute: "f32" | "bf16"): NativeKernels {
  const lane = new Lane("cuda");
  const [ledger, inline] = [createLedger(), lane.context];
  const lanes: Lanes = {
    ...{ model: inline, host: lane, inline, onDevice: () => false, times: createHostTimes() },
    compute: compute === "bf16" ? MEFT_BF16 : MEFT_F32,
  };
  return {
    ...composeKernels({
      backend: "cuda",
      model: modelKernels(lanes, compute),
      rows: rowKernels(lanes, compute),
      place: hostPlace(ledger, compute),
      memory: () => hostPassMemory(ledger, compute),
    }),
    backend: "cuda",
    info: () => inline.info(),
    [Symbol.dispose]: () => lane[Symbol.dispose](),
  };
}

function bothProducts(
  name: string,
  target: Target | DeviceTarget,
  open: (compute: "f32" | "bf16", threads: number) => NativeKernels,
): Backend[] {
  return (["f32", "bf16"] as const).map((compute): Backend => ({
    name: `${name} ${compute}`,
    compute,
    open: (threads) => withCheckedWorkspace(() => open(compute, threads)),
    assertRan(k, called) {
      const { ranTarget } = (k as NativeKernels).info();
      const lane = k.device === null ? { ...modelReference, ...rowReference() } : modelReference;
      const isLibrary = (name: string) => name in lane && !(name in OWN_LOOPS);
      const expected = [...called].some(isLibrary) ? target : "auto";
      if (ranTarget !== expected) {
        throw new Error(`ran on ${ranTarget}, expected ${expected}: ${[...called].join(", ")}`);
      }
    },
  }));
}

/** The same kernels; notes which of them are called. @mutates called */
export function watchedKernels<K extends Kernels>(k: K, called: Set<string>): K {
  return new Proxy(k, {
    get(kernels, name) {
      const member: unknown = Reflect.get(kernels, name);
      if (typeof member === "function") called.add(String(name));
      return member;
    },
  });
}
