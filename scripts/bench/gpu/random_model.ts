// SPDX-License-Identifier: Apache-2.0
/** A model with random weights that no file holds: drawn once and laid where the kernels read them, on a device or here. */
import { describeModel } from "../../../lib/models/described.ts";
import type { Model } from "../../../lib/models/model.ts";
import { createRopeCaches } from "../../../lib/models/rope.ts";
import { buildParts } from "../../../lib/models/families/registry.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import type { Weight } from "../../../lib/tensor/tensor.ts";
import { configJson, highHalves, type ModelSizes } from "../checkpoint.ts";

/** Noise is drawn once for as many elements and repeats: what a product costs does not depend on it. */
const NOISE_ELEMENTS = 1 << 22;
const BF16_ONE = 0x3f80;

/** A llama in bf16: norms are 1, everything else N(0, 0.02^2) with a period. Use with `using`. */
export function randomModel(sizes: ModelSizes, kernels: Kernels, seed: number): Model {
  const described = describeModel(configJson(sizes, "bf16"), kernels);
  const { config } = described;
  using owned = new DisposableStack();
  const noise = bf16Noise(kernels, seed, config.initializerRange);
  const ones = new Uint16Array(config.hiddenSize).fill(BF16_ONE);
  const parts = buildParts(config, (name, rows, cols): Weight => {
    const data = place(kernels, (rows ?? 1) * cols, rows === null ? ones : noise, owned);
    return { name, dtype: "bf16", rows: rows ?? 1, cols, data, mapped: null, grad: null };
  });
  const rope = owned.use(createRopeCaches(kernels, parts.rotary));
  const kept = owned.move();
  return { ...described, parts, rope, [Symbol.dispose]: () => kept.dispose() };
}

/** Noise for {@linkcode layNoise}. */
export function bf16Noise(kernels: Kernels, seed: number, std: number): Uint16Array {
  const values = new Float32Array(NOISE_ELEMENTS);
  kernels.randomNormal(values, seed, 0, std);
  return highHalves(values);
}

/** `count` elements of a pattern over and over, in the kernels' own memory. */
function place(kernels: Kernels, count: number, pattern: Uint16Array, owned: DisposableStack): Uint16Array {
  const { device } = kernels;
  const data = device === null
    ? new Uint16Array(count)
    : new Uint16Array(owned.adopt(device.reserve(2 * count, "weights"), (block) => device.release(block)));
  layNoise(kernels, data, pattern);
  return data;
}

/** Fills an array, the host's or the device's, with a pattern over and over. @mutates data */
export function layNoise({ device }: Kernels, data: Uint16Array, pattern: Uint16Array): void {
  for (let at = 0; at < data.length; at += pattern.length) {
    const piece = pattern.subarray(0, Math.min(pattern.length, data.length - at));
    if (device?.holds(data)) device.copy(data.subarray(at, at + piece.length), piece);
    else data.set(piece, at);
  }
}
