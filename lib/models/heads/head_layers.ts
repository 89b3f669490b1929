// SPDX-License-Identifier: Apache-2.0
/** The layers of a head between hidden states and outputs: h = norm(activation(x w^T + bias)). */
import { activationBackward, activationForward } from "../../ops/activation.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { HeadLayer } from "../parts.ts";

/** What backward needs of a layer: its input and that of the activation, (N,D) each, and what the norm keeps. */
export interface HeadLayerResiduals {
  readonly x: Tensor;
  readonly inner: Tensor;
  readonly norm: NormResiduals | null;
}

/** @param x (N,D) read     @returns (N,D) in the arena; x itself where there are no layers */
export function headLayersForward(
  k: Kernels,
  layers: readonly HeadLayer[],
  x: Tensor,
): { y: Tensor; residuals: readonly HeadLayerResiduals[] } {
  const residuals: HeadLayerResiduals[] = [];
  let y = x;
  for (const { linear: { weight, bias }, activation, norm } of layers) {
    const inner = linearForward(k, y, weight, { bias });
    const active = activationForward(k, { x: inner, up: null }, activation);
    const normed = norm && normForward(k, active, norm);
    residuals.push({ x: y, inner, norm: normed?.residuals ?? null });
    y = normed?.y ?? active;
  }
  return { y, residuals };
}

/** @param dy (N,D) read     @returns dx (N,D) in the arena. @mutates grads of the layers, residuals */
export function headLayersBackward(
  k: Kernels,
  layers: readonly HeadLayer[],
  residuals: readonly HeadLayerResiduals[],
  dy: Tensor,
): Tensor {
  let d = dy;
  for (const [i, { linear: { weight, bias }, activation, norm }] of [...layers.entries()].reverse()) {
    const { x, inner, norm: kept } = residuals[i] as HeadLayerResiduals;
    const dactive = norm && kept ? normBackward(k, kept, norm, d) : d;
    const { dx } = activationBackward(k, { x: inner, up: null }, activation, dactive, { inPlace: true });
    d = linearBackward(k, x, weight, dx, { bias });
  }
  return d;
}
