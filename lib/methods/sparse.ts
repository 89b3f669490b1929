// SPDX-License-Identifier: Apache-2.0
/** MEFT (Hao et al., ACL 2024): a sparse adapter with Key-Experts beside every feed-forward half. */
import type { SparseOptions } from "../adapters/sparse/config.ts";
import type { Method } from "./method.ts";

/** The paper's method; options left out take its values (r = 4096, N = 4 sqrt(r), k_e = 8, K = 64, raw gate). */
export function sparse(options: SparseOptions = {}): Method {
  return {
    name: "sparse",
    summary: "a huge sparse adapter in host memory (MEFT, ACL 2024)",
    adapter: { kind: "sparse", options: { ...options } },
    optimizer: { lr: 1e-4 },
    activations: "store",
  };
}
