// SPDX-License-Identifier: Apache-2.0
/** The numbers of the performance bar, drawn from what was measured. */
import type { CaseDType } from "./checkpoint.ts";
import type { KernelResult } from "./kernels.ts";
import type { Pairing } from "./peers.ts";

/** Speed ratios are their time over ours; a number is null when what it needs was not measured. */
export interface Ratios {
  readonly sparseStepVsTorch4k: number | null;
  readonly sparseStepVsTorch16k: number | null;
  readonly loraStepVsPeftF32: number | null;
  readonly loraStepVsPeftBf16: number | null;
  readonly frozenStepVsTorchF32: number | null;
  readonly frozenStepVsTorchBf16: number | null;
  /** Our sparse step at r = 4096 over our step without an adapter, bf16. */
  readonly sparseOverFrozen: number | null;
  /** Bytes a second of the row update over those of the same streams with trivial arithmetic. */
  readonly rowAdamwBandwidthShare: number | null;
  /** Of the measured peak: forward product 512 x 4096 x 4096 in the machine's best type. */
  readonly linearPeakShare: number | null;
  /** Our peak memory over theirs in the pairing where that is largest: below 1 is less than PyTorch everywhere. */
  readonly peakMemoryVsTorch: number | null;
}

/** @param sparseOverFrozen Median over rounds in which both ran */
export function barRatios(
  pairings: readonly Pairing[],
  kernels: readonly KernelResult[],
  sparseOverFrozen: number | null,
): Ratios {
  const speed = (name: string, dtype: CaseDType): number | null =>
    pairings.find((pairing) => pairing.name === name && pairing.dtype === dtype)?.speedRatio ?? null;
  const share = (name: string): number | null =>
    kernels.find((kernel) => kernel.name.startsWith(name))?.share ?? null;
  return {
    sparseStepVsTorch4k: speed("sparse4k", "bf16"),
    sparseStepVsTorch16k: speed("sparse16k", "bf16"),
    loraStepVsPeftF32: speed("lora", "f32"),
    loraStepVsPeftBf16: speed("lora", "bf16"),
    frozenStepVsTorchF32: speed("frozen", "f32"),
    frozenStepVsTorchBf16: speed("frozen", "bf16"),
    sparseOverFrozen,
    rowAdamwBandwidthShare: share("AdamW rows"),
    linearPeakShare: share("linear forward"),
    peakMemoryVsTorch: pairings.length === 0
      ? null
      : Math.max(...pairings.map(({ memoryRatio }) => memoryRatio)),
  };
}
