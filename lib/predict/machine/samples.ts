// SPDX-License-Identifier: Apache-2.0
/** What is timed in place of a run's own: numbers, a weight, and a layer of the sparse adapter with what goes through it. */
import type { RowSelection } from "../../adapters/adapter.ts";
import { releasing } from "../../activations/policy.ts";
import { account } from "../../native/ledger.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { createRowGradients, rowGradientBytes } from "../../ops/row_gradients.ts";
import { sparseBackward, type SparseConfig, sparseForward, type SparseParams } from "../../ops/sparse.ts";
import type { Floats, Tensor, Weight } from "../../tensor/tensor.ts";

/** Elements of any one sample that is made for it. */
export const LARGEST_ELEMENTS = 1 << 21;
/** Noise repeats itself after as many elements: to make it must not take long. */
const NOISE_PERIOD = 1 << 16;

/** Normal numbers of deviation 0.1. */
export function noise(k: Kernels, count: number): Floats {
  const values = k.floats(count);
  const piece = Math.min(count, NOISE_PERIOD);
  k.randomNormal(values.subarray(0, piece), 1, 0, 0.1);
  for (let done = piece; done < count; done *= 2) values.copyWithin(done, 0, Math.min(done, count - done));
  return values;
}

/** Noise as bf16: the high halves of its bits. */
export function asBf16(floats: Floats): Uint16Array {
  return Uint16Array.from(
    new Uint32Array(floats.buffer, floats.byteOffset, floats.length),
    (value) => value >>> 16,
  );
}

/** A weight in memory. */
export function sampleWeight(
  k: Kernels,
  { dtype, rows, cols }: Pick<Weight, "rows" | "cols"> & { readonly dtype: "f32" | "bf16" },
): Weight {
  const floats = noise(k, rows * cols);
  const data = dtype === "f32" ? floats : asBf16(floats);
  return { name: "sample", dtype, rows, cols, data, mapped: null, grad: null };
}

/** Sizes of a layer of the sparse adapter that is timed. */
export interface SampleSizes {
  readonly config: SparseConfig;
  readonly neurons: number;
  readonly hidden: number;
  readonly tokens: number;
  readonly trainedRouter: boolean;
}

/** A run's layer at 256 tokens, with as many experts as fit the largest sample. */
export function fittingLayer(selection: RowSelection, hidden: number): SampleSizes {
  const { neurons, experts, activeExperts } = selection;
  const room = Math.floor(4 * LARGEST_ELEMENTS / (2 * hidden));
  const expertRows = Math.min(neurons / experts, Math.max(1, Math.floor(room / activeExperts)));
  const fitting = Math.max(
    Math.min(experts, activeExperts),
    Math.min(experts, Math.floor(room / expertRows)),
  );
  const config = { ...selection, experts: fitting };
  return { config, neurons: fitting * expertRows, hidden, tokens: 256, trainedRouter: true };
}

/** A layer of the sparse adapter, and what goes through it. Row gradients are given back at its end. */
export interface SampleLayer extends Disposable {
  readonly sizes: SampleSizes;
  readonly params: SparseParams;
  /** (T,D) of the host's. */
  readonly h: Tensor;
  readonly y: Tensor;
}

/** One of zeros: enough to be counted. Activations lie in the host's arena. */
export function sampleLayer(k: Kernels, sizes: SampleSizes): SampleLayer {
  const { config: { experts }, neurons, hidden, tokens, trainedRouter } = sizes;
  const activation = (): Tensor => ({ shape: [tokens, hidden], data: k.hostFloats(tokens * hidden) });
  const params: SparseParams = {
    gateWeight: k.floats(experts * hidden),
    gateGrad: trainedRouter ? k.floats(experts * hidden) : null,
    keys: k.rowMatrix(neurons, hidden),
    values: k.rowMatrix(neurons, hidden),
    gradients: createRowGradients(k, neurons, hidden, { keys: true, slots: neurons }),
  };
  return {
    ...{ sizes, params, h: activation(), y: activation() },
    [Symbol.dispose]: () => account(k.ledger, "gradients", -rowGradientBytes(params.gradients)),
  };
}

/** One of noise: ready to be timed. */
export function noisyLayer(k: Kernels, sizes: SampleSizes): SampleLayer {
  const layer = sampleLayer(k, sizes);
  const { params: { gateWeight, keys, values }, h } = layer;
  const rows = noise(k, sizes.neurons * sizes.hidden);
  k.rowMatrixWrite(keys, rows, 0);
  k.rowMatrixWrite(values, rows, 0);
  gateWeight.set(noise(k, gateWeight.length));
  h.data.set(noise(k, h.data.length));
  return layer;
}

/** Forward and backward. Returns how many pairs fired. */
export function passLayer(k: Kernels, { sizes, params, h, y }: SampleLayer): Promise<number> {
  return releasing(k, async () => {
    const { residuals } = await sparseForward(k, params, h, sizes.config, { into: y });
    await sparseBackward(k, params, residuals, h, h, y);
    return residuals.pairCount;
  });
}
