// SPDX-License-Identifier: Apache-2.0
/** Every case of the kernel contract. */
import type { KernelCase } from "../kernel_case.ts";
import { activationCases } from "./activations.ts";
import { attentionCases } from "./attention.ts";
import { couplingCases } from "./coupling.ts";
import { edgeCases } from "./edges.ts";
import { elementwiseCases } from "./elementwise.ts";
import { expertCases } from "./experts.ts";
import { firedCases } from "./fired.ts";
import { linearCases } from "./linear.ts";
import { normCases } from "./norms.ts";
import { pairCases } from "./pairs.ts";
import { cutProductCases, productCases } from "./products.ts";
import { rowCases } from "./rows.ts";
import { softcapCases } from "./softcap.ts";
import { sparseCases, sparseEdgeCases, sparseRoundingCases } from "./sparse.ts";
import { sparseNanCases } from "./sparse_nan.ts";

/** What every backend must give. */
export const KERNEL_CASES: readonly KernelCase[] = [
  ...linearCases,
  ...productCases,
  ...normCases,
  ...activationCases,
  ...elementwiseCases,
  ...couplingCases,
  ...edgeCases,
  ...expertCases,
  ...softcapCases,
  ...attentionCases,
  ...sparseCases,
  ...sparseNanCases,
  ...pairCases,
  ...firedCases,
  ...rowCases,
];

/** What processors must give besides: where they cut large work, and what they round of a sparse adapter. */
export const CPU_CASES: readonly KernelCase[] = [
  ...cutProductCases,
  ...sparseEdgeCases,
  ...sparseRoundingCases,
];
