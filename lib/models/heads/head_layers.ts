// SPDX-License-Identifier: Apache-2.0
/** The layers of a head between hidden states and outputs: h = norm(activation(x w^T + bias)). */
import { activationBackward, activationForward } from "../../ops/activation.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { linearSize } from "../part_tensors.ts";
import type { HeadLayer, Linear } from "../parts.ts";
import { hookedBackward, hookedForward } from "../sublayers/linear.ts";
import type { HeadInput } from "./head_call.ts";

/** What backward needs of a layer: its input and that of the activation, (N,D) each, and what the norm keeps. */
export interface HeadLayerResiduals {
  readonly x: Tensor;
  readonly inner: Tensor;
  readonly norm: NormResiduals | null;
}

/** What tells the hooks of a head. */
export type HeadHooks = Pick<HeadInput, "hooks" | "layer">;

/** A product of a head with its hooks. @param x (N,I) read     @returns (N,O) in the arena */
export function headProduct(k: Kernels, { hooks, layer }: HeadHooks, linear: Linear, x: Tensor): Tensor {
  const y = arenaTensor(k, [x.shape[0] ?? 0, linearSize(linear).outputs]);
  hookedForward({ k, hooks }, layer, linear, x, { into: y });
  return y;
}

/** Backward of {@linkcode headProduct}. @returns dx (N,I) in the arena. @mutates grads of the product, what its hooks train */
export function headProductBackward(
  k: Kernels,
  { hooks, layer }: HeadHooks,
  linear: Linear,
  x: Tensor,
  dy: Tensor,
): Tensor {
  const dx = arenaTensor(k, x.shape);
  hookedBackward({ k, hooks }, layer, linear, x, dy, { into: dx });
  return dx;
}

/** @param x (N,D) read     @returns (N,D) in the arena; x itself where there are no layers */
export function headLayersForward(
  k: Kernels,
  hooks: HeadHooks,
  layers: readonly HeadLayer[],
  x: Tensor,
): { y: Tensor; residuals: readonly HeadLayerResiduals[] } {
  const residuals: HeadLayerResiduals[] = [];
  let y = x;
  for (const { linear, activation, norm } of layers) {
    const inner = headProduct(k, hooks, linear, y);
    const active = activationForward(k, { x: inner, up: null }, activation);
    const normed = norm && normForward(k, active, norm);
    residuals.push({ x: y, inner, norm: normed?.residuals ?? null });
    y = normed?.y ?? active;
  }
  return { y, residuals };
}

/** @param dy (N,D) read     @returns dx (N,D) in the arena. @mutates grads of the layers, what their hooks train, residuals */
export function headLayersBackward(
  k: Kernels,
  hooks: HeadHooks,
  layers: readonly HeadLayer[],
  residuals: readonly HeadLayerResiduals[],
  dy: Tensor,
): Tensor {
  let d = dy;
  for (const [i, { linear, activation, norm }] of [...layers.entries()].reverse()) {
    const { x, inner, norm: kept } = residuals[i] as HeadLayerResiduals;
    const dactive = norm && kept ? normBackward(k, kept, norm, d) : d;
    const { dx } = activationBackward(k, { x: inner, up: null }, activation, dactive, { inPlace: true });
    d = headProductBackward(k, hooks, linear, x, dx);
  }
  return d;
}
