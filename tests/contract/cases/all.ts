// SPDX-License-Identifier: Apache-2.0
/** Every case of the kernel contract. */
import type { KernelCase } from "../kernel_case.ts";
import { attentionCases } from "./attention.ts";
import { edgeCases } from "./edges.ts";
import { elementwiseCases } from "./elementwise.ts";
import { linearCases } from "./linear.ts";
import { pairCases } from "./pairs.ts";
import { rowCases } from "./rows.ts";
import { sparseCases } from "./sparse.ts";
import { sparseNanCases } from "./sparse_nan.ts";

export const KERNEL_CASES: readonly KernelCase[] = [
  ...linearCases,
  ...elementwiseCases,
  ...edgeCases,
  ...attentionCases,
  ...sparseCases,
  ...sparseNanCases,
  ...pairCases,
  ...rowCases,
];
