// SPDX-License-Identifier: Apache-2.0
/** What the host lane computes on rows, over libmeft. */
import { createJobQueue } from "../../core/job_queue.ts";
import { type ContextInfo, targetFacts } from "../../native/context.ts";
import { firedRowKernels } from "../fired_rows.ts";
import type { HostProducts, RowKernels } from "../kernels/rows.ts";
import { adamwRowKernels } from "./adamw.ts";
import { hostIndices } from "./host_place.ts";
import type { Lanes } from "./lanes.ts";
import { rowMatrixKernels } from "./rows.ts";
import { sparseKernels } from "./sparse.ts";
import { branchKernels } from "./sparse_branch.ts";
import { rowStepKernels } from "./sparse_step.ts";

/** Kernels of the host lane. Its turns and its account begin anew. */
export function rowKernels(lanes: Lanes, compute: "f32" | "bf16"): RowKernels {
  return {
    hostProducts: hostProducts(lanes.inline.info(), compute),
    hostBeside: lanes.host.nonblocking,
    hostJobs: createJobQueue(),
    hostTimes: lanes.times,
    ...rowMatrixKernels(lanes),
    ...firedRowKernels({ indices: hostIndices }),
    ...sparseKernels(lanes),
    ...branchKernels(lanes),
    ...rowStepKernels(lanes),
    ...adamwRowKernels(lanes),
  };
}

/** How a lane multiplies. */
export function hostProducts(
  { threads, target }: Pick<ContextInfo, "threads" | "target">,
  compute: "f32" | "bf16",
): HostProducts {
  const { multipliesBf16, vectorLanes: lanes, panelColumns, rowBlock, depthBytes, inTiles } = targetFacts(
    target,
  );
  const operandDType = compute === "bf16" && multipliesBf16 ? "bf16" : "f32";
  return { threads, operandDType, lanes, panelColumns, rowBlock, depthBytes, inTiles };
}
