// SPDX-License-Identifier: Apache-2.0
/** Every backend that this machine has. A new one is added here, and every contract case runs on it. */
import type { Kernels } from "../../lib/ops/kernels.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { type Target, TARGETS } from "../../lib/native/context.ts";

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
    (["f32", "bf16"] as const).map((compute): Backend => ({
      name: `cpu ${target} ${compute}`,
      compute,
      open: (threads) => nativeKernels({ target, compute, threads }),
      assertRan(k) {
        if (!("info" in k)) throw new TypeError("expected native kernels");
        const { ranTarget } = (k as ReturnType<typeof nativeKernels>).info();
        if (ranTarget !== target) throw new Error(`ran on ${ranTarget}, expected ${target}`);
      },
    }))
  );
}
