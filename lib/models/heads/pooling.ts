// SPDX-License-Identifier: Apache-2.0
/** What stands for a sequence, of the hidden states of its tokens. */
import { arenaTensor } from "../../ops/arena_tensor.ts";
import { gatherRows } from "../../ops/experts.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Pooling } from "../parts.ts";
import type { HeadInput } from "./head_call.ts";
import { addRows, rowOf } from "./token_rows.ts";

/**
 * (S) the row that stands for each sequence. With `last` as transformers has it: the last token that is not padding, else the
 * first.
 */
export function pooledRows(
  pooling: Exclude<Pooling, { kind: "mean" }>,
  { ids, starts }: HeadInput["batch"],
): Int32Array {
  const rows = starts.slice(0, -1);
  if (pooling.kind === "first") return rows;
  rows.forEach((start, s) => {
    let row = (starts[s + 1] as number) - 1;
    while (row > start && ids[row] === pooling.padId) row--;
    rows[s] = row;
  });
  return rows;
}

/**
 * @param behind Tokens behind the one that stands for a sequence, where one token does
 * @returns (S,D) in the arena. The mean of no tokens is 0
 */
export function pool(k: Kernels, pooling: Pooling, { hidden, batch }: HeadInput, behind = 0): Tensor {
  if (pooling.kind !== "mean") return gatherRows(k, hidden, rowsBehind(pooling, batch, behind));
  const pooled = arenaTensor(k, [batch.starts.length - 1, hidden.shape[1] ?? 0]);
  k.zero(pooled.data);
  forEachSequence(batch, (s, begin, end) => {
    const mean = rowOf(pooled, s);
    for (let row = begin; row < end; row++) k.add(mean, rowOf(hidden, row));
    k.scale(mean, 1 / (end - begin));
  });
  return pooled;
}

/** @param dpooled (S,D) of what `pool` gave     @param dhidden (M,D) it is added to. @mutates dpooled, dhidden */
export function poolBackward(
  k: Kernels,
  pooling: Pooling,
  batch: HeadInput["batch"],
  behind: number,
  dpooled: Tensor,
  dhidden: Tensor,
): void {
  if (pooling.kind !== "mean") return addRows(k, dhidden, rowsBehind(pooling, batch, behind), dpooled);
  forEachSequence(batch, (s, begin, end) => {
    const share = rowOf(dpooled, s);
    k.scale(share, 1 / (end - begin));
    for (let row = begin; row < end; row++) k.add(rowOf(dhidden, row), share);
  });
}

function rowsBehind(
  pooling: Exclude<Pooling, { kind: "mean" }>,
  batch: HeadInput["batch"],
  behind: number,
): Int32Array {
  return pooledRows(pooling, batch).map((row) => row + behind);
}

/** Calls `body(s, begin, end)` for each sequence that has tokens: its rows are [begin, end). */
function forEachSequence(
  { starts }: HeadInput["batch"],
  body: (s: number, begin: number, end: number) => void,
): void {
  for (let s = 0; s + 1 < starts.length; s++) {
    const [begin, end] = [starts[s] as number, starts[s + 1] as number];
    if (end > begin) body(s, begin, end);
  }
}
