// SPDX-License-Identifier: Apache-2.0
/** Embedding, layers and final norm: wired once, for training, scoring and decoding alike. */
import { forwardOnly, type Step } from "../../activations/policy.ts";
import { embeddingForward } from "../../ops/embedding.ts";
import { normForward, type NormResiduals } from "../../ops/norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Hooks } from "../hooks.ts";
import { headTensors, layersOf, type ModelParts, normTensors } from "../parts.ts";
import { isTrained, type StepContext } from "../sublayers/context.ts";
import { sublayerStage } from "../sublayers/registry.ts";
import { sublayerIsTrained } from "../sublayers/sublayer.ts";
import { plainStep } from "../wiring/plain.ts";

/** Sees the gradient (T,D) of the hidden state that enters a layer; it must be copied to be kept. For tests and study. */
export type GradientTap = (layer: number, dx: Tensor) => void;

/** Depth of the final norm; the head is one deeper. */
export function finalNormDepth(parts: ModelParts): number {
  return 1 + layersOf(parts).flat().length;
}

/**
 * Depth of the lowest thing that is trained: 0 the embedding, then each sublayer of each layer, the final norm and the
 * head. Gradients are carried down to there and no further. Infinity when nothing is trained.
 */
export function lowestTrained(parts: ModelParts, hooks: Hooks): number {
  if (isTrained([parts.embedding])) return 0;
  const trained = layersOf(parts).flatMap((layer, number) =>
    layer.map((part) => sublayerIsTrained(part, hooks, number))
  );
  const [{ finalNorm }] = parts.stacks;
  const depth = [...trained, isTrained(normTensors(finalNorm)), isTrained(headTensors(parts.head))].indexOf(
    true,
  );
  return depth < 0 ? Infinity : 1 + depth;
}

/**
 * The layers as steps of a pass.
 *
 * @param lowest Lowest depth whose gradient is wanted, by {@linkcode lowestTrained}
 * @param left Called when backward has left a layer
 */
export function layerSteps(
  step: StepContext,
  parts: ModelParts,
  lowest: number,
  left?: GradientTap,
): Step<readonly unknown[]>[] {
  let depth = 0;
  return layersOf(parts).map((layer, number) => {
    const stages = layer.map((part) => {
      depth++;
      return {
        stage: sublayerStage(step, number, part, depth > lowest),
        needsBackward: depth >= lowest,
      };
    });
    return plainStep(step.k, stages, left && ((dx) => left(number, dx)));
  });
}

/** The residual stream (T,D) that enters the first layer. */
export function embed({ k }: StepContext, { embedding }: ModelParts, ids: Int32Array): Tensor {
  return embeddingForward(k, ids, embedding);
}

/** The residual stream (T,D) behind the last layer, nothing kept. */
export async function streamOf(step: StepContext, parts: ModelParts, ids: Int32Array): Promise<Tensor> {
  const x = embed(step, parts, ids);
  const [y] = await forwardOnly(step.k, layerSteps(step, parts, Infinity), [x]);
  return y as Tensor;
}

/**
 * What the head sees of rows (M,D) of the residual stream.
 *
 * @param into (M,D) where it is written; in the arena when absent
 */
export function headInput(
  { k }: StepContext,
  { stacks: [{ finalNorm }] }: ModelParts,
  y: Tensor,
  into?: Tensor,
): { y: Tensor; residuals: NormResiduals } {
  return normForward(k, y, finalNorm, into && { into });
}
