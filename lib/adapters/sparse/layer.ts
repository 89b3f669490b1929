// SPDX-License-Identifier: Apache-2.0
/** One layer of the sparse adapter, as both placements see it. */
import type { RowsBehind } from "../../ops/kernels/rows.ts";
import type { SparseParams, SparseResiduals } from "../../ops/sparse.ts";
import type { DenseParameter, RowParameter } from "../../optim/parameters.ts";
import type { AttachOptions } from "../adapter.ts";

/** One layer: what the ops read and write, and the same as named parameters. */
export interface SparseLayer {
  readonly params: SparseParams;
  readonly router: DenseParameter;
  readonly keys: RowParameter;
  readonly values: RowParameter;
  /** (N): tokens that backward saw routed to each expert. */
  readonly expertTokens: Float64Array;
}

/** Which rows of a layer lag, as the optimizer says. */
export function rowsBehind({ keys, values }: SparseLayer, { behind }: AttachOptions): RowsBehind | null {
  const [ofKeys, ofValues] = [behind?.(keys) ?? null, behind?.(values) ?? null];
  const step = ofKeys?.step ?? ofValues?.step;
  return step ? { keys: ofKeys?.moments ?? null, values: ofValues?.moments ?? null, step } : null;
}

/** Counts the tokens that each expert got in a forward that backward has reached. @mutates layer.expertTokens */
export function countTokens({ expertTokens }: SparseLayer, { routing }: SparseResiduals): void {
  routing.expertTokens.forEach((tokens, expert) => {
    expertTokens[expert] = (expertTokens[expert] as number) + tokens;
  });
}
