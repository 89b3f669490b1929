// SPDX-License-Identifier: Apache-2.0
/** What the model's lane computes, over libmeft. */
import type { ComputeDType } from "../../core/dtype.ts";
import type { ModelKernels } from "../kernels/model.ts";
import { adamwDenseKernel } from "./adamw.ts";
import { attentionKernels } from "./attention.ts";
import { couplingKernels } from "./coupling.ts";
import { denseKernels } from "./dense.ts";
import { expertKernels } from "./experts.ts";
import type { Lanes } from "./lanes.ts";
import { linearKernels } from "./linear.ts";
import { pairKernels } from "./pairs.ts";

/** @param compute Type of matrix products, as `lanes.compute` says it to the library */
export function modelKernels(lanes: Lanes, compute: ComputeDType): ModelKernels {
  return {
    compute,
    ...linearKernels(lanes),
    ...denseKernels(lanes),
    ...couplingKernels(lanes),
    ...expertKernels(lanes),
    ...attentionKernels(lanes),
    ...pairKernels(lanes),
    ...adamwDenseKernel(lanes),
  };
}
