// SPDX-License-Identifier: Apache-2.0
/**
 * Scratch of the native kernels, foretold: the largest of what their calls take for a while, by the sizes and block sizes of
 * csrc/cpu.
 */
import type { Adapter } from "../adapters/adapter.ts";
import type { PassPlan, PassSize } from "../models/footprint.ts";
import {
  copiedSpan,
  isConverted,
  narrowProductBytes,
  operandBytes,
  type ProductPlace,
  together,
  WIDE_ROWS,
  wideProductBytes,
} from "../ops/counting/product_scratch.ts";
import { sparseWorkspaceBytes } from "./workspace_sparse.ts";

/** Of csrc/cpu/kernels/linear.cpp: tokens from which on weights are packed, and up to which nothing is. */
const WIDE_TOKENS = 192;
const WIDE_TOKENS_CONVERTED = 96;
const FEW_TOKENS = 12;
/** Of csrc/cpu/attention_span.h, attention.cpp and attention_backward.cpp. */
const KEY_TILE = 64;
const QUERY_BLOCK = 96;
const BACKWARD_ROWS = 48;
/** What a context takes at least. */
const SMALLEST_BLOCK = 2 ** 20;

/** A linear layer of a pass, as its kernels are called. */
interface LayerProduct {
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
function forwardBytes(place: ProductPlace, layer: LayerProduct): number {
  const { inputs, outputs, tokens, stored, weight } = layer;
  const own = !isConverted(place, weight);
  const copies = isConverted(place, storedDType(place, stored.x));
  const rounds = storedDType(place, stored.y) === "bf16";
  const sums = rounds ? 4 * Math.min(tokens, WIDE_ROWS) * outputs : 0;
  if (tokens <= FEW_TOKENS) return together(sums, tokens * inputs * operandBytes(place));
  if (tokens >= (own ? WIDE_TOKENS : WIDE_TOKENS_CONVERTED) || 2 * tokens >= inputs) {
    const product = { m: tokens, n: outputs, k: inputs, copies };
    const fits = !copies || inputs <= copiedSpan(Math.min(tokens, WIDE_ROWS), operandBytes(place));
    return rounds && !fits
      ? together(sums, wideProductBytes(place, product))
      : wideProductBytes(place, { ...product, rounds });
  }
  return together(sums, narrowProductBytes(place, { m: outputs, n: tokens, k: inputs }));
}

/** dx (+)= dy w. */
function backwardDataBytes(place: ProductPlace, { inputs, outputs, tokens, stored }: LayerProduct): number {
  const copies = isConverted(place, storedDType(place, stored.y));
  const product = { m: tokens, n: inputs, k: outputs, copies };
  const rounds = storedDType(place, stored.x) === "bf16";
  const fits = !copies || outputs <= copiedSpan(Math.min(tokens, WIDE_ROWS), operandBytes(place));
  if (rounds && !fits) {
    return together(4 * Math.min(tokens, WIDE_ROWS) * inputs, wideProductBytes(place, product));
  }
  return wideProductBytes(place, { ...product, rounds });
}

/** dw += dy^T x; of a tall, narrow weight turned. */
function backwardWeightBytes(place: ProductPlace, { inputs, outputs, tokens }: LayerProduct): number {
  const narrow = inputs <= place.panelColumns / 2 && outputs > inputs;
  if (!narrow) return wideProductBytes(place, { m: outputs, n: inputs, k: tokens, copies: true });
  const turned = { m: inputs, n: outputs, k: tokens, copies: true };
  return together(4 * inputs * outputs, wideProductBytes(place, turned));
}

/** How far a pass goes: forward alone; back too; and to the gradient of a weight. */
type Reach = "forward" | "inputs" | "weight";

function layerBytes(place: ProductPlace, layer: LayerProduct, reach: Reach): number {
  return Math.max(
    forwardBytes(place, layer),
    reach === "forward" ? 0 : backwardDataBytes(place, layer),
    reach === "weight" ? backwardWeightBytes(place, layer) : 0,
  );
}

/** Inputs, outputs and how they are stored, of the products of a layer. */
function siteProducts({ config }: PassPlan): Record<string, Omit<LayerProduct, "tokens" | "weight">> {
  const { hiddenSize: d, intermediateSize: F, numAttentionHeads, numKeyValueHeads, headDim } = config;
  const [queries, keys] = [numAttentionHeads * headDim, numKeyValueHeads * headDim];
  const [fromStream, toStream] = [{ x: false, y: true }, { x: true, y: false }];
  return {
    q: { inputs: d, outputs: queries, stored: fromStream },
    k: { inputs: d, outputs: keys, stored: fromStream },
    v: { inputs: d, outputs: keys, stored: fromStream },
    o: { inputs: queries, outputs: d, stored: toStream },
    gate: { inputs: d, outputs: F, stored: fromStream },
    up: { inputs: d, outputs: F, stored: fromStream },
    down: { inputs: F, outputs: d, stored: toStream },
  };
}

/** Of attention: forward a tile's softmax for each thread; backward sums of dq in f32 where it is stored in bf16. */
function attentionBytes({ config }: PassPlan, place: ProductPlace, tokens: number, reach: Reach): number {
  const { numAttentionHeads: H, numKeyValueHeads, headDim: Dh } = config;
  const [operand, rows] = [operandBytes(place), H / numKeyValueHeads * QUERY_BLOCK];
  const queries = isConverted(place, place.compute) ? rows * Dh * operand : 0;
  const forward = 2 * KEY_TILE * Dh * operand + queries + rows * (Dh + 2) * 4 + 24 * KEY_TILE * (4 + operand);
  const tile = BACKWARD_ROWS * KEY_TILE;
  const backward = (3 * KEY_TILE * Dh + BACKWARD_ROWS * (Dh + Math.max(Dh, KEY_TILE)) + tile) * operand +
    8 * (tile + KEY_TILE * Dh);
  const dq = place.compute === "bf16" ? 4 * tokens * H * Dh : 0;
  return Math.max(
    place.threads * forward,
    reach === "forward" ? 0 : together(dq, place.threads * backward),
  );
}

/** Thin products of hooks on linear weights, with f32 factors. */
function linearHookBytes(plan: PassPlan, place: ProductPlace, tokens: number, reach: Reach): number {
  const { adapter: { linear }, config: { numHiddenLayers } } = plan;
  if (linear === null) return 0;
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) => layer);
  return Math.max(
    0,
    ...Object.entries(siteProducts(plan)).map(([site, { inputs, outputs, stored }]) => {
      const rank = Math.max(0, ...layers.map((layer) => linear.rank(layer, site)));
      if (rank === 0) return 0;
      const x = stored.x && !linear.copies;
      const down = { inputs, outputs: rank, tokens, stored: { x, y: false }, weight: "f32" };
      const up = {
        inputs: rank,
        outputs,
        tokens,
        stored: { x: false, y: stored.y },
        weight: "f32",
      };
      return Math.max(layerBytes(place, down, reach), layerBytes(place, up, reach));
    }),
  );
}

/**
 * Scratch of a pass at most.
 *
 * @param weight Type of the model's frozen matrices     @param size Of the largest micro-batch
 * @param gradient Whether the pass goes back; else it is for the loss alone
 */
export function workspaceBytes(
  plan: PassPlan,
  adapter: Adapter,
  { place, weight, size, gradient }: {
    readonly place: ProductPlace;
    readonly weight: string;
    readonly size: PassSize;
    readonly gradient: boolean;
  },
): number {
  const { config: { hiddenSize, vocabSize }, full, chunkRows } = plan;
  const { tokens, targets } = size;
  const trained: Reach = gradient ? "weight" : "forward";
  const ofModel: Reach = gradient && !full ? "inputs" : trained;
  const dtype = full ? "f32" : weight;
  const floats = { x: false, y: false };
  // The head works chunk by chunk.
  const head = {
    inputs: hiddenSize,
    outputs: vocabSize,
    tokens: Math.min(chunkRows, targets),
    stored: floats,
  };
  return Math.max(
    SMALLEST_BLOCK,
    ...Object.values(siteProducts(plan))
      .map((site) => layerBytes(place, { ...site, tokens, weight: dtype }, ofModel)),
    layerBytes(place, { ...head, weight: dtype }, ofModel),
    attentionBytes(plan, place, tokens, ofModel),
    linearHookBytes(plan, place, tokens, trained),
    adapter.kind === "parallel" ? parallelBytes(adapter, hiddenSize, place, tokens, gradient) : 0,
    adapter.kind === "sparse" ? sparseWorkspaceBytes(adapter, hiddenSize, place, tokens, gradient) : 0,
  );
}

/** z = ReLU(h keys^T), and its gradient; y = z values is a product as those back are. */
function parallelBytes(
  adapter: Adapter,
  hidden: number,
  place: ProductPlace,
  tokens: number,
  gradient: boolean,
): number {
  const neurons = Number(adapter.config["neurons"]);
  const keys = { inputs: hidden, outputs: neurons, tokens, stored: { x: false, y: false }, weight: "f32" };
  return layerBytes(place, keys, gradient ? "weight" : "inputs");
}
