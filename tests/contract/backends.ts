// SPDX-License-Identifier: Apache-2.0
/** Every backend that this machine has. A new one is added here, and every contract case runs on it. */
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { cudaKernels } from "../../lib/ops/native/cuda_kernels.ts";
import { type NativeKernels, nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { withCheckedWorkspace } from "../checked_workspace.ts";
import { openTestDevice } from "../cuda_library.ts";
import { type DeviceTarget, type Target, TARGETS } from "../../lib/native/context.ts";

/** A way to run kernels. */
export interface Backend {
  readonly name: string;
  /** Type of its matrix products. */
  readonly compute: "f32" | "bf16";
  /** Results must not depend on the threads. */
  open(threads: number): Kernels & Disposable;
  /** After a kernel ran: fails unless it ran where it should. */
  assertRan(k: Kernels): void;
}

/** The native library on every instruction set of the machine, with products in f32 and in bf16. */
export function backends(): Backend[] {
  const targets = buildInfo(openLibrary()).machineTargets.filter((name): name is Target => name in TARGETS);
  return targets.flatMap((target) =>
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

function bothProducts(
  name: string,
  target: Target | DeviceTarget,
  open: (compute: "f32" | "bf16", threads: number) => NativeKernels,
): Backend[] {
  return (["f32", "bf16"] as const).map((compute): Backend => ({
    name: `${name} ${compute}`,
    compute,
    open: (threads) => withCheckedWorkspace(() => open(compute, threads)),
    assertRan(k) {
      const { ranTarget } = (k as NativeKernels).info();
      if (ranTarget !== target && ranTarget !== "auto") {
        throw new Error(`ran on ${ranTarget}, expected ${target}`);
      }
    },
  }));
}
