// SPDX-License-Identifier: Apache-2.0
/**
 * Kernels that compute nothing and book what they are asked for: memory by class, operations, bytes, scratch, traffic of the
 * link. Under the engine, with its hooks and policies, they say what a pass will take without taking it.
 */
import { createJobQueue } from "../../core/job_queue.ts";
import { createLedger } from "../../native/ledger.ts";
import { createHostTimes } from "../host_times.ts";
import { composeKernels, type Kernels } from "../kernels/kernels.ts";
import { type Counts, createCounts, type LaneWatch, tallyOf, type Worker } from "./counts.ts";
import { countedFiredRows, type RowsOfStep } from "./fired_rows.ts";
import { modelKernels } from "./model.ts";
import { type CountedDevice, countedDevice, countedPlace, passMemory } from "./place.ts";
import type { ProductPlace } from "./product_scratch.ts";
import { rowKernels } from "./rows.ts";

/** The part of kernels that decides what anything takes. */
export type KernelTraits =
  & Pick<Kernels, "backend" | "float" | "activationDType" | "compute" | "hostProducts" | "hostBeside">
  & { readonly arena: Pick<Kernels["arena"], "blockBytes">; readonly device: unknown };

/** Kernels that count. */
export interface CountingKernels extends Kernels {
  readonly counts: Counts;
  readonly device: CountedDevice | null;
  /** The same kernels on the same memory, whose work is put down to the adapter. */
  readonly adapter: Kernels;
  twin(): CountingKernels;
}

/** Choices of {@linkcode countingKernels}. */
export interface CountingOptions {
  /** Told which lane is given what. Default: nobody asks. */
  readonly lanes?: LaneWatch | null;
  /** Of rows that work on a device. Default: as many fire as can, in a step of any size. */
  readonly rows?: RowsOfStep;
}

/** Kernels that count in the place of others: on a device where those are. */
export function countingKernels(
  traits: KernelTraits,
  { lanes = null, rows: rowsOfStep = { reach: "most", tokens: 0 } }: CountingOptions = {},
): CountingKernels {
  const { backend, float, activationDType, compute, hostProducts, hostBeside } = traits;
  const ledger = createLedger();
  const counts = createCounts(lanes);
  const device = traits.device === null ? null : countedDevice();
  const kind = { float, activationDType, device, blockBytes: traits.arena.blockBytes };
  const product = productPlace(traits);
  const lane = { hostProducts, hostBeside, hostJobs: createJobQueue(), hostTimes: createHostTimes() };
  const fired = countedFiredRows(rowsOfStep);
  const workOf = (worker: Worker) => {
    const tally = tallyOf(counts, worker);
    return {
      model: { compute, ...modelKernels(tally, product) },
      rows: { ...lane, ...rowKernels(tally, product, float === "f64", fired) },
      place: countedPlace(kind, ledger, tally),
    };
  };
  const kernels = composeKernels({
    backend,
    ...workOf("model"),
    memory: () => passMemory(kind, ledger, lanes),
  });
  const { model, rows, place } = workOf("adapter");
  let second: CountingKernels | null = null;
  const twin = (): CountingKernels => second ??= counted(kernels.twin());
  const counted = (own: Kernels): CountingKernels => {
    const adapter: Kernels = { ...own, ...model, ...rows, ...place, twin: () => twin().adapter };
    return { ...own, counts, device, adapter, twin };
  };
  return counted(kernels);
}

/** How the native kernels multiply; those of the reference have no scratch, and count as if they were of f32. */
function productPlace(
  { compute, hostProducts }: KernelTraits,
): ProductPlace {
  return {
    ...hostProducts,
    compute: compute === "bf16" ? "bf16" : "f32",
    operandDType: hostProducts.operandDType === "bf16" ? "bf16" : "f32",
  };
}
