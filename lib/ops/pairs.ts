// SPDX-License-Identifier: Apache-2.0
/** All op pairs under one name, for those who study the method: `ops.sparseForward`, `ops.sparseBackward`, … */
export * from "./activation.ts";
export * from "./attention.ts";
export * from "./embedding.ts";
export * from "./experts.ts";
export * from "./linear.ts";
export * from "./loss.ts";
export * from "./low_rank.ts";
export * from "./norm.ts";
export * from "./rotary.ts";
export * from "./sparse.ts";
export * from "./sparse_again.ts";
