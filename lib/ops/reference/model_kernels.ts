// SPDX-License-Identifier: Apache-2.0
/** What the reference computes for a model. */
import { dropout, randomNormal } from "../../core/rng.ts";
import type { ModelKernels } from "../kernels/model.ts";
import { pairMatrixKernels } from "../pair_matrix.ts";
import { adamwDenseKernel } from "./adamw.ts";
import { attentionKernels } from "./attention.ts";
import { couplingKernels } from "./coupling.ts";
import { elementwiseKernels } from "./elementwise.ts";
import { expertKernels } from "./experts.ts";
import { linearKernels } from "./linear.ts";
import { normKernels } from "./norm.ts";

/** Everything in f64. */
export const modelKernels: ModelKernels = {
  compute: "f64",
  randomNormal,
  dropout,
  ...linearKernels,
  ...normKernels,
  ...expertKernels,
  ...couplingKernels,
  ...elementwiseKernels,
  ...attentionKernels,
  ...pairMatrixKernels,
  ...adamwDenseKernel,
};
