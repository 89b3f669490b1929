// SPDX-License-Identifier: Apache-2.0
/** Scratch of attention, by the sizes of csrc/cpu/attention_span.h, attention.cpp and attention_backward.cpp. */
import type { AttentionShape } from "../kernels/model.ts";
import { isConverted, operandBytes, type ProductPlace, together } from "./product_scratch.ts";

const KEY_TILE = 64;
const QUERY_BLOCK = 96;

/** For each thread a tile's keys, values and softmax. */
export function attentionForwardScratch(
  place: ProductPlace,
  { heads, kvHeads, headDim: Dh }: AttentionShape,
): number {
  const [operand, rows] = [operandBytes(place), heads / kvHeads * QUERY_BLOCK];
  const queries = isConverted(place, place.compute) ? rows * Dh * operand : 0;
  return place.threads *
    (2 * KEY_TILE * Dh * operand + queries + rows * (Dh + 2) * 4 + place.rowBlock * KEY_TILE * (4 + operand));
}

/** For each thread a tile and its gradients; sums of dq in f32 where it is stored in bf16. */
export function attentionBackwardScratch(
  place: ProductPlace,
  { queryRows, heads, headDim: Dh }: AttentionShape,
): number {
  const rows = 2 * place.rowBlock;
  const tile = rows * KEY_TILE;
  const ofThread = (3 * KEY_TILE * Dh + rows * (Dh + Math.max(Dh, KEY_TILE)) + tile) * operandBytes(place) +
    8 * (tile + KEY_TILE * Dh);
  const dq = place.compute === "bf16" ? 4 * queryRows * heads * Dh : 0;
  return together(dq, place.threads * ofThread);
}
