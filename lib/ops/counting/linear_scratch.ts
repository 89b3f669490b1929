// SPDX-License-Identifier: Apache-2.0
/** Scratch of linear layers, by the choices of csrc/cpu/kernels/linear.cpp. */
import {
  copiedSpan,
  isConverted,
  narrowProductBytes,
  operandBytes,
  type ProductPlace,
  together,
  WIDE_ROWS,
  wideProductBytes,
} from "./product_scratch.ts";

/** Tokens from which on weights are packed, and up to which nothing is. */
const WIDE_TOKENS = 192;
const WIDE_TOKENS_CONVERTED = 96;
const FEW_TOKENS = 12;

/** A linear layer as its kernels are called. */
export interface LayerProduct {
  readonly inputs: number;
  readonly outputs: number;
  readonly tokens: number;
  /** Whether inputs and outputs are activations; else f32. */
  readonly stored: { readonly x: boolean; readonly y: boolean };
  /** Type of the weight. */
  readonly weight: string;
}

/** Type that inputs or outputs are stored in. */
function storedDType({ compute }: ProductPlace, stored: boolean): string {
  return stored ? compute : "f32";
}

/** y (+)= x w^T. */
export function linearForwardScratch(place: ProductPlace, layer: LayerProduct): number {
  const { inputs, outputs, tokens, stored, weight } = layer;
  const own = !isConverted(place, weight);
  const copies = isConverted(place, storedDType(place, stored.x));
  const rounds = storedDType(place, stored.y) === "bf16";
  const sums = rounds ? 4 * Math.min(tokens, WIDE_ROWS) * outputs : 0;
  if (tokens <= FEW_TOKENS) return together(sums, tokens * inputs * operandBytes(place));
  if (tokens >= (own ? WIDE_TOKENS : WIDE_TOKENS_CONVERTED) || 2 * tokens >= inputs) {
    const product = { m: tokens, n: outputs, k: inputs, copies };
    const fits = !copies || inputs <= copiedSpan(place, Math.min(tokens, WIDE_ROWS));
    return rounds && !fits
      ? together(sums, wideProductBytes(place, product))
      : wideProductBytes(place, { ...product, rounds });
  }
  return together(sums, narrowProductBytes(place, { m: outputs, n: tokens, k: inputs }));
}

/** dx (+)= dy w. */
export function linearBackwardDataScratch(
  place: ProductPlace,
  { inputs, outputs, tokens, stored }: LayerProduct,
): number {
  const copies = isConverted(place, storedDType(place, stored.y));
  const product = { m: tokens, n: inputs, k: outputs, copies };
  const rounds = storedDType(place, stored.x) === "bf16";
  const fits = !copies || outputs <= copiedSpan(place, Math.min(tokens, WIDE_ROWS));
  if (rounds && !fits) {
    return together(4 * Math.min(tokens, WIDE_ROWS) * inputs, wideProductBytes(place, product));
  }
  return wideProductBytes(place, { ...product, rounds });
}

/** dw += dy^T x; of a tall, narrow weight turned. */
export function linearBackwardWeightScratch(
  place: ProductPlace,
  { inputs, outputs, tokens }: Pick<LayerProduct, "inputs" | "outputs" | "tokens">,
): number {
  const narrow = inputs <= place.panelColumns / 2 && outputs > inputs;
  if (!narrow) return wideProductBytes(place, { m: outputs, n: inputs, k: tokens, copies: true });
  const turned = { m: inputs, n: outputs, k: tokens, copies: true };
  return together(4 * inputs * outputs, wideProductBytes(place, turned));
}
